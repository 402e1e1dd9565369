"""The app: a window on the engine. Nothing else knows Gradio."""
