"""What TensorBoard loads: the tab's address, and the answers to what the page asks."""

from __future__ import annotations

import functools
import mimetypes
from collections.abc import Callable
from importlib import resources
from typing import Any

from tensorboard import plugin_util
from tensorboard.backend.http_util import Respond
from tensorboard.plugins import base_plugin
from werkzeug import exceptions, wrappers

from keras_babysit.event_files.tags import PLUGIN
from keras_babysit.report import page
from keras_babysit.tensorboard_plugin.runs import Runs


class BabysitPlugin(base_plugin.TBPlugin):
    """The tab Babysit.

    Args:
        context: a `tensorboard.plugins.base_plugin.TBContext`.
    """

    plugin_name = PLUGIN

    def __init__(self, context: Any):
        self._provider = context.data_provider
        static = resources.files("keras_babysit.page") / "static"
        self._static = {file.name: file for file in static.iterdir() if file.is_file()}

    def get_plugin_apps(self) -> dict[str, Callable]:
        """Returns the addresses below the plugin's own, and what answers them."""
        return {
            "/static/*": _application(self._serve_static),
            **{
                f"/{answer.__name__.strip('_')}": _application(
                    functools.partial(self._answer, answer)
                )
                for answer in (self._runs, self._run, self._histograms, self._pictures)
            },
        }

    def is_active(self) -> bool:
        """Returns `False`: TensorBoard asks its data for our plugin's name."""
        return False

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """Returns what the tab is called and which module draws it."""
        return base_plugin.FrontendMetadata(
            es_module_path="/static/index.js", tab_name="Babysit", disable_reload=True
        )

    def _serve_static(self, request: wrappers.Request) -> wrappers.Response:
        name = request.path.partition("/static/")[2]
        # Only names that were listed: no path leads out of the folder.
        if name not in self._static:
            raise exceptions.NotFound(f"No such file: {name}")
        kind = "text/javascript" if name.endswith(".js") else None
        kind = kind or mimetypes.guess_type(name)[0] or "text/plain"
        return Respond(request, self._static[name].read_bytes(), kind)

    def _answer(
        self, answer: Callable[[Runs, wrappers.Request], Any], request: wrappers.Request
    ) -> wrappers.Response:
        context = plugin_util.context(request.environ)
        experiment = plugin_util.experiment_id(request.environ)
        runs = Runs(self._provider, context, experiment)
        return Respond(request, answer(runs, request), "application/json")

    def _runs(self, runs: Runs, request: wrappers.Request) -> list[dict[str, Any]]:
        return [page.outline(report, name) for name, report in runs.outlines()]

    def _run(self, runs: Runs, request: wrappers.Request) -> dict[str, Any]:
        name = _asked(request, "run")
        return page.document(_known(runs.report(name), name), name, states=False)

    def _histograms(self, runs: Runs, request: wrappers.Request) -> list:
        name = _asked(request, "run")
        report = runs.histograms(name, _asked(request, "layer"))
        return page.histograms(_known(report, name).course)

    def _pictures(self, runs: Runs, request: wrappers.Request) -> list:
        name = _asked(request, "run")
        if name not in runs.names():
            raise exceptions.NotFound(f"No such run: {name}")
        return page.pictures(runs.pictures(name).course)


def _application(
    answer: Callable[[wrappers.Request], wrappers.Response],
) -> Callable[..., Any]:
    """Returns a WSGI application, which answers a bad request in plain text."""

    @wrappers.Request.application
    def application(request: wrappers.Request) -> wrappers.Response:
        try:
            return answer(request)
        except exceptions.HTTPException as error:
            return Respond(request, error.description, "text/plain", error.code or 400)

    return application


def _asked(request: wrappers.Request, name: str) -> str:
    value = request.args.get(name)
    if value is None:
        raise exceptions.BadRequest(f"The parameter {name!r} is missing.")
    return value


def _known(report: Any, name: str) -> Any:
    if report is None:
        raise exceptions.NotFound(f"No such run: {name}")
    return report
