// Where documents come from: this very file, or TensorBoard.

/** The documents of a page that was saved: all are in it. */
export function embedded(documents) {
  const find = (name) => documents.find((document) => document.name === name);
  return {
    live: false,
    runs: async () => documents,
    run: async (name) => find(name),
    histograms: async (name, layer) => {
      const own = new Set([layer.path, ...layer.variables]);
      return find(name).histograms.filter(({ path }) => own.has(path.replace(/@\d+$/, "")));
    },
    pictures: async (name) => find(name).pictures,
  };
}

/** The documents that TensorBoard's plugin serves; `address` is that of the plugin. */
export function served(address) {
  const get = async (what, query = {}) => {
    const url = new URL(what, address);
    for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`${what}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  return {
    live: true,
    runs: () => get("runs"),
    run: (name) => get("run", { run: name }),
    histograms: (name, layer) => get("histograms", { run: name, layer: layer.path }),
    pictures: (name) => get("pictures", { run: name }),
  };
}
