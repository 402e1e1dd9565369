"""The app: five tabs on one page, and the server they come from."""

from dataclasses import dataclass

import gradio as gr

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from studio.language import LANGUAGES, translations
from studio.ui import tensorboard
from studio.ui.parts import part
from studio.ui.tabs import compare, dataset, presets, runs, train
from studio.ui.theme import head, theme

TABS = {"Dataset": dataset, "Presets": presets, "Train": train, "Compare": compare, "Runs": runs}


ROUTES = [route for module in (*TABS.values(), tensorboard) for route in getattr(module, "ROUTES", ())]


@dataclass(frozen=True)
class Address:
    """Where the app answers and who may come in."""

    host: str = "127.0.0.1"
    port: int | None = None
    share: bool = False
    auth: tuple[str, str] | None = None
    root_path: str = ""


def page() -> tuple[gr.Blocks, gr.I18n]:
    """The page with its five tabs, and the words of Gradio's own parts."""
    words = gr.I18n(en={name: name for name in TABS}, **{"zh-CN": {name: translations("zh").get(name, name) for name in TABS}})
    with gr.Blocks(title="LoRA Studio", fill_width=True, delete_cache=(3600, 86400)) as blocks:
        part("top", [])
        with gr.Tabs(elem_id="tabs"):
            for name, tab in TABS.items():
                with gr.Tab(words(name), id=name.lower()):
                    tab.build()
    return blocks, words


def serve(address: Address) -> None:
    """Answer until told to end."""
    blocks, words = page()
    blocks.launch(
        server_name=address.host,
        server_port=address.port,
        share=address.share,
        auth=address.auth,
        root_path=address.root_path,
        theme=theme(),
        head=head(),
        i18n=words,
        ssr_mode=False,
        run_history=False,
        show_error=False,
        footer_links=[],
        max_file_size="2gb",
        app_kwargs={"routes": [Route("/health", _health), *ROUTES]},
    )


async def _health(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")
