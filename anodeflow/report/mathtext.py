"""Labels of matplotlib, with their mathtext, as the few tags that plotly knows; everything else is shown as text."""

from __future__ import annotations

import re
from html import escape

_SIGNS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "theta": "θ", "lambda": "λ", "mu": "μ",
    "nu": "ν", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "omega": "ω", "Delta": "Δ", "Gamma": "Γ",
    "Sigma": "Σ", "Omega": "Ω", "AA": "Å", "cdot": "·", "times": "×", "pm": "±", "degree": "°", "circ": "°",
    "to": "→", "rightarrow": "→", "leq": "≤", "geq": "≥", "approx": "≈", "langle": "⟨", "rangle": "⟩",
    "infty": "∞", "parallel": "∥",
}  # fmt: skip
_SPACES = re.compile(r"\\[,;: !]|~")
_FONTS = re.compile(r"\\(?:mathrm|mathit|mathbf|mathsf|text|rm|it|bf)\b\s*")
_OVERLINE = re.compile(r"\\(?:overline|bar)\{(\w+)\}")
_SCRIPT = re.compile(r"([_^])(?:\{([^{}]*)\}|(\S))")
_COMMAND = re.compile(r"\\([A-Za-z]+)\s?")


def as_html(label: str) -> str:
    """Return a label as text with ``<sub>``, ``<sup>`` and ``<br>``; what looks like HTML in it is escaped.

    Examples
    --------
    >>> as_html("Li$_{9}$Al$_4$ <b>")
    'Li<sub>9</sub>Al<sub>4</sub> &lt;b&gt;'
    >>> as_html(r"$E_\\mathrm{int}$ (eV)")
    'E<sub>int</sub> (eV)'
    """
    parts = re.split(r"(?<!\\)\$", label)
    if len(parts) % 2 == 0:  # a sign that opens nothing
        return _text(label)
    return "".join(_mathematics(part) if number % 2 else _text(part) for number, part in enumerate(parts))


def as_text(label: str) -> str:
    """Return a label without tags, for alternative texts.

    Examples
    --------
    >>> as_text("energy (J/m$^2$)")
    'energy (J/m2)'
    """
    from html import unescape

    return unescape(re.sub(r"</?(?:sub|sup|br)>", lambda tag: " " if tag[0] == "<br>" else "", as_html(label)))


def _text(part: str) -> str:
    return escape(part.replace(r"\$", "$"), quote=False).replace("\n", "<br>")


def _mathematics(part: str) -> str:
    text = escape(_SPACES.sub(" ", part), quote=False)
    text = _OVERLINE.sub(lambda match: "".join(f"{letter}\u0305" for letter in match[1]), text)
    text = re.sub(r"([_^])\\(?:mathrm|mathit|text)\{([^{}]*)\}", r"\1{\2}", text)
    text = _FONTS.sub("", text)
    text = _COMMAND.sub(lambda match: _SIGNS.get(match[1], match[1]), text)
    text = _SCRIPT.sub(_script, text)
    return re.sub(r"[{}\\]", "", text).replace("-", "−")


def _script(match: re.Match[str]) -> str:
    tag = "sub" if match[1] == "_" else "sup"
    return f"<{tag}>{match[2] if match[2] is not None else match[3]}</{tag}>"
