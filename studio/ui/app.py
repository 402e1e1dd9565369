"""The app: five tabs on one page, and the server they come from."""

import importlib
import ipaddress
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from types import FrameType
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from studio import families
from studio.errors import InputError, MachineError
from studio.language import say
from studio.runs import jobs
from studio.runs.mirror import Mirror
from studio.ui import access, guard, space, tasks, tensorboard
from studio.ui.parts import part
from studio.ui.tabs import compare, dataset, files, presets, runs, train
from studio.ui.theme import head, theme

TABS = {"Dataset": dataset, "Presets": presets, "Train": train, "Compare": compare, "Runs": runs}
ROUTES = [route for module in (*TABS.values(), files, tensorboard) for route in getattr(module, "ROUTES", ())]
HEAVY = ("studio.runs.execute", "studio.results.generate")  # opened, after the family itself, when the page has been painted
PAINTED = 2.0  # seconds from a page's first byte until nobody notices
UNASKED = 8.0  # seconds until they are opened without a visitor
SAVING = 600.0  # seconds that a run gets to save when the server ends


@dataclass(frozen=True)
class Address:
    """Where the app answers and who may come in."""

    host: str = "127.0.0.1"
    port: int | None = None
    share: bool = False
    auth: tuple[str, str] | None = None
    open_to_all: bool = False
    root_path: str = ""

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return not self.share and (self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback)
        except ValueError:
            return False


def page(mirror: Mirror | None = None) -> gr.Blocks:
    """The page with its five tabs."""

    def about(_: dict[str, Any]) -> dict[str, Any]:
        return {"notices": space.notices(mirror)}

    blocks: gr.Blocks = gr.Blocks(title="LoRA Studio", fill_width=True, delete_cache=(3600, 86400))
    with blocks:
        part("top", [about])
        with gr.Tabs(elem_id="tabs"):
            for name, tab in TABS.items():
                with gr.Tab(name, id=name.lower()):
                    tab.build()
    return blocks


def serve(address: Address) -> None:
    """Answer until told to end; then let the run that is being trained save. Raises InputError, MachineError."""
    if not (address.loopback or address.auth or address.open_to_all or "SPACE_ID" in os.environ):
        raise InputError(
            say("{host} can be reached by others, and there is no login.", host=address.host if not address.share else "--share"),
            say("Add --auth USER:PASSWORD, or --no-auth where everybody may use it."),
        )
    mirror = space.settle()
    access.settle(address.loopback, address.auth is not None)
    blocks, url = open_page(address, mirror)
    print(say("LoRA Studio: {url}", url=url), flush=True)
    threading.Thread(target=_warm_up, name="warm-up", daemon=True).start()
    if mirror:
        mirror.watch()
    jobs.wake()
    _wait()
    _end(blocks)
    if mirror:
        mirror.end()


def open_page(address: Address, mirror: Mirror | None = None) -> tuple[gr.Blocks, str]:
    """Start to answer. Returns the page and its address."""
    blocks = page(mirror)
    try:
        _, url, shared = blocks.launch(
            server_name=address.host,
            server_port=address.port,
            share=address.share,
            auth=address.auth,
            root_path=address.root_path or None,
            theme=theme(),
            head=head(),
            ssr_mode=False,
            run_history=False,
            show_error=False,
            footer_links=[],
            quiet=True,
            prevent_thread_lock=True,
            inbrowser=False,
            max_file_size="50mb" if access.HOUSE.demo else "4gb",
            app_kwargs={
                "routes": [Route("/health", _health), *ROUTES],
                "middleware": guard.guards(address.loopback),
                "docs_url": None,
                "redoc_url": None,
            },
        )
    except OSError as error:
        raise MachineError(
            say("Nothing can listen on {host}:{port}: {reason}", host=address.host, port=address.port or "7860…", reason=error),
            say("Choose another --port, or end the program that has it."),
        ) from None
    queue: Any = getattr(blocks, "_queue", None)
    if hasattr(queue, "sleep_when_free"):
        queue.sleep_when_free = 0.05  # it would look a thousand times a second, and nothing here waits in it
    return blocks, shared or url


async def _health(_: Request) -> Response:
    return PlainTextResponse("ok")


def _warm_up() -> None:
    """Open what trains and draws while the person looks at the page."""
    if guard.page_asked.wait(UNASKED):
        time.sleep(PAINTED)
    try:
        families.get("sd")
        for name in HEAVY:
            importlib.import_module(name)
    except (ImportError, OSError):
        logging.getLogger("studio").exception("warm-up")


def _wait() -> None:
    """Until Ctrl-C or SIGTERM."""
    told = threading.Event()

    def hear(_: int, __: FrameType | None) -> None:
        if told.is_set():
            raise KeyboardInterrupt
        told.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, hear)
    while not told.wait(1):
        pass


def _end(blocks: gr.Blocks) -> None:
    """Save, then go."""
    tasks.end()
    current = jobs.queue.current
    if current:
        print(say("Run {id} saves and stops. Ctrl-C again ends at once.", id=current.id), file=sys.stderr, flush=True)
    for run in jobs.shut_down(SAVING):
        print(say("Saved. Go on with it in the app, or with: python studio.py resume {id}", id=run.id), file=sys.stderr, flush=True)
    tensorboard.end()
    blocks.close(verbose=False)
