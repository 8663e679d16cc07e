"""`python -m tests.refusals` writes docs/refusals.md."""

from tests.refusals import SECTIONS
from tests.refusals.case import listen
from tests.refusals.page import PAGE, page

PAGE.write_text(page(SECTIONS, listen(SECTIONS)), encoding="utf-8")
