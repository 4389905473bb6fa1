"""The results of a check as JUnit's XML, which continuous integration reads."""

from __future__ import annotations

from xml.etree import ElementTree

from keras_babysit.checks.check import CheckResult
from keras_babysit.checks.preflight_result import Preflight
from keras_babysit.document.words import clean

#: What a verdict is in JUnit's words; a test that passed has no element.
_ELEMENTS = {
    "failed": "failure",
    "worrying": "failure",
    "not finished": "error",
    "skipped": "skipped",
}


def document(found: Preflight) -> str:
    """Returns one test suite, with a test case for each check."""
    verdicts = [_ELEMENTS.get(result.verdict, "") for result in found.results]
    suite = ElementTree.Element(
        "testsuite",
        name="keras-babysit check",
        time=f"{found.seconds:.3f}",
        tests=str(len(verdicts)),
        failures=str(verdicts.count("failure")),
        errors=str(verdicts.count("error")),
        skipped=str(verdicts.count("skipped")),
    )
    suite.extend(_case(result, clean(found.model)) for result in found.results)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, "unicode", xml_declaration=True) + "\n"


def _case(result: CheckResult, model: str) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=model, name=result.title)
    element = _ELEMENTS.get(result.verdict)
    if element is not None:
        message = clean(result.summary)
        told = ElementTree.SubElement(
            case, element, message=message, type=result.verdict
        )
        told.text = "\n".join(map(clean, str(result).splitlines()))
    return case
