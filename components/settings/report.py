"""Block `report`: how much the page shows."""

from components.settings.block import Block, Count


class ReportSettings(Block):
    groups_shown: Count
    sliders_shown: Count
