"""Violations that were found on the way, kept as they were found: a seed or a story, and one line.

A seed is bound to the schedule that the generator drew then; what made it matter is also a story.
"""

from tests.simulation.guards import stories
from tests.simulation.play import Story
from tests.simulation.scenarios import slow_return_after_a_power_loss

STORIES: tuple[tuple[str, Story, int], ...] = (
    (
        """etcd prolongs all leases at an election: a session left from before a power loss ended
        the startup barrier, and a server that booted slowly was fenced in the middle of it""",
        slow_return_after_a_power_loss,
        3,
    ),
    (
        """the second executor's copy of the store was 12 s behind: it counted the intent's validity
        from seeing it, and switched off a server that was well again""",
        stories.second_executor_hears_late_of_its_intent,
        3,
    ),
    (
        """a machine stood still for 4 s; its old lease proof was still valid when it went on, and a
        resource started on what was known before the pause""",
        stories.start_after_a_pause,
        3,
    ),
)

SEEDS: tuple[tuple[int, str], ...] = (
    (106, "a stop that waited for the store came after the start that followed it: not a fault"),
    (182, "a server rebooted into its own open fence waits for the slot's end before its session"),
    (246, "a BMC that lies about a server that nobody hears or reaches: beyond the promise"),
    (280, "a resource died while the next one of its group was starting: not a wrong order"),
)
