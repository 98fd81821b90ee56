"""Settings of the documentation; ``make docs`` builds it, without a network."""

import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

sys.path.insert(0, str(Path(__file__).parent))  # svg_math

import molae_pyg

project = "molae_pyg"
author = "The molae_pyg developers"
release = version = molae_pyg.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb", "svg_math"]
exclude_patterns = ["_build"]
nitpicky = True  # a reference into molae_pyg that leads nowhere is a warning
nitpick_ignore_regex = [("py:.*", r"(?!molae_pyg).*")]

html_theme = "furo"
html_title = f"molae_pyg {release}"
html_static_path = ["_static"]
html_css_files = ["molae.css"]
html_math_renderer = "svg"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # seconds a cell
nb_output_stderr = "remove"  # progress bars and the like; an error stops the build all the same
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"

# Types stand with the arguments they belong to; a signature shows names and defaults.
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # nn.Module's words on `forward` say nothing about ours
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 90
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Shapes"]


def resolve_public_name(
    app: Sphinx, env: BuildEnvironment, node: nodes.Element, text: nodes.Node
) -> nodes.Element | None:
    """Links ``molae_pyg.MolAE`` to its place in the API, ``molae_pyg.models.MolAE``."""
    package, _, name = node.get("reftarget", "").partition(".")
    public = getattr(molae_pyg, name.partition(".")[0], None)
    room = ".".join(getattr(public, "__module__", "").split(".")[:2])  # of molae_pyg.models.mol_ae
    if package != "molae_pyg" or not room:
        return None
    python = env.get_domain("py")
    target = f"{room}.{name}"
    return python.resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], target, node, text
    )


def keep_colons(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]):
    """Undoes what Google style does to "text: more text" about an attribute: a type and a text."""
    for number, line in enumerate(lines):
        if what in ("attribute", "data", "property") and line.startswith(":type: "):
            lines[0] = f"{line.removeprefix(':type: ')}: {lines[0]}"
            del lines[number]
            return


def setup(app: Sphinx) -> None:
    app.connect("missing-reference", resolve_public_name)
    app.connect("autodoc-process-docstring", keep_colons, priority=600)  # after napoleon
