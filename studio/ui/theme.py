"""How the app looks: Gradio's theme, and the page's head with our own style, script and dictionary."""

import json
from functools import cache

import gradio as gr

from studio.language import LANGUAGES
from studio.ui.parts import ASSETS, asset, dictionary

CHINESE = ("PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "system-ui", "sans-serif")
OUTSIDE = ("tokens.css",)


def theme() -> gr.themes.Base:
    """Gradio's own parts in our colours. Only fonts that are whole in Gradio's package, in the weights that it ships."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), *CHINESE],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"],
    ).set(
        body_background_fill="#fafaf9",
        body_background_fill_dark="#131211",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1d1b19",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        color_accent="#0f766e",
    )


@cache
def head() -> str:
    """What goes into <head>: style (our rules sit inside one selector that outweighs Gradio's), words and script."""
    styles = sorted(path.name for path in ASSETS.glob("*.css"))
    outside = "\n".join(asset(name) for name in styles if name in OUTSIDE)
    inside = "\n".join(asset(name) for name in styles if name not in OUTSIDE)
    words = json.dumps({code: dictionary(code) for code in LANGUAGES if code != "en"}, ensure_ascii=False).replace("</", "<\\/")
    script = f"window.STUDIO_WORDS = {words};\n{asset('studio.js')}\n{asset('chart.js')}"
    return f"<style>{outside}\nbody .gradio-container {{\n{inside}\n}}</style>\n<script>{script}</script>"
