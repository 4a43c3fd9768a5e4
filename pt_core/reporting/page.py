"""Fill a template into a page; every name is escaped, and what is undefined is a dash."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from pt_core.decision.compare import human_bytes

_UNDEFINED = "-"


def render(template: str, **values: object) -> str:
    """Return the page of a template with these values."""
    return _templates().get_template(template).render(**values)


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("pt_core.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "human_bytes": human_bytes,
        "number": _number,
        "ratio": _ratio,
        "plain": _plain,
        "count_or_dash": lambda count: _UNDEFINED if count is None else f"{count:,}",
        "short": lambda share: f"{share:.2f}",
        "rounded": lambda value: _UNDEFINED if value is None else f"{value:,.0f}",
        "seconds": lambda time: _UNDEFINED if time is None else f"{time:.1f} s",
        "percent": lambda share: f"{share:.1%}",
        "is_web": lambda url: url.startswith(("http://", "https://")),
    }
    return templates


def _number(value: float | None) -> str:
    # Adding zero turns -0.0 into 0.0.
    return _UNDEFINED if value is None else f"{value + 0.0:.4f}"


def _ratio(value: float | None) -> str:
    """Return three digits, however small: 0.114 beside 0.115 is a difference that decides."""
    return _UNDEFINED if value is None else f"{value:#.3g}".rstrip(".")


def _plain(value: float | None) -> str:
    """Return a number of any size: a share, a time, or a count of bytes."""
    if value is None:
        return _UNDEFINED
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value + 0.0:.4f}"
