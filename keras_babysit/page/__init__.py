"""The page that shows runs: plain JavaScript that draws from JSON documents.

`static/` is the page, which TensorBoard's tab serves as it is; `html_file.py` makes one
self-contained file of it. `static/echarts.js` is the minified build of Apache ECharts
6.1.0, `dist/echarts.esm.min.mjs` of its npm package.
"""
