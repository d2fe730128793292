"""Every key of the store, built in this module only (see docs/concepts.md for who writes which)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of one cluster. Prefixes end in '/'."""

    cluster: str

    @property
    def root(self) -> str:
        return f"/clusterctl/{self.cluster}/"

    # spec/: written by apply only
    @property
    def head(self) -> str:
        return f"{self.root}spec/head"

    def spec_object(self, digest: str) -> str:
        return f"{self.root}spec/objects/{digest}"

    def manifest(self, digest: str) -> str:
        return f"{self.root}spec/manifests/{digest}"

    def revision(self, number: int) -> str:
        return f"{self.root}spec/revisions/{number:012d}"

    @property
    def revisions(self) -> str:
        return f"{self.root}spec/revisions/"

    @property
    def spec(self) -> str:
        return f"{self.root}spec/"

    # run/: ownership and everything that proves it
    @property
    def run(self) -> str:
        return f"{self.root}run/"

    def session(self, server: str) -> str:
        return f"{self.root}run/sessions/{server}"

    @property
    def coordinator(self) -> str:
        return f"{self.root}run/coordinator"

    def group(self, group: str) -> str:
        return f"{self.root}run/groups/{group}"

    def release(self, group: str) -> str:
        return f"{self.root}run/releases/{group}"

    @property
    def fence_slot(self) -> str:
        return f"{self.root}run/fence-slot"

    def fence(self, server: str) -> str:
        return f"{self.root}run/fences/{server}"

    @property
    def store_life(self) -> str:
        return f"{self.root}run/store"

    def hold(self, server: str) -> str:
        return f"{self.root}run/holds/{server}"

    def cordon(self, server: str) -> str:
        return f"{self.root}run/cordons/{server}"

    def mirror(self, resource: str) -> str:
        return f"{self.root}run/mirrors/{resource}"

    def consent(self, resource: str) -> str:
        return f"{self.root}run/consents/{resource}"

    def unlock(self, resource: str) -> str:
        return f"{self.root}run/unlocks/{resource}"

    def verdict(self, group: str) -> str:
        return f"{self.root}run/verdicts/{group}"

    def operation(self, ulid: str) -> str:
        return f"{self.root}run/operations/{ulid}"

    @property
    def operations(self) -> str:
        return f"{self.root}run/operations/"

    def challenge(self, server: str) -> str:
        return f"{self.root}run/challenges/{server}"

    def answer(self, server: str) -> str:
        return f"{self.root}run/answers/{server}"

    # status/<server>/: written by that server only, one prefix so that one role grants it
    @property
    def status(self) -> str:
        return f"{self.root}status/"

    def server_status(self, server: str) -> str:
        return f"{self.root}status/{server}/server"

    def server_facts(self, server: str) -> str:
        return f"{self.root}status/{server}/facts"

    def group_status(self, server: str, group: str) -> str:
        return f"{self.root}status/{server}/groups/{group}"

    def monitor_status(self, server: str, monitor: str) -> str:
        return f"{self.root}status/{server}/monitors/{monitor}"

    def mirror_status(self, server: str, resource: str) -> str:
        return f"{self.root}status/{server}/mirrors/{resource}"

    # events/ and tokens/
    @property
    def events(self) -> str:
        return f"{self.root}events/"

    def event(self, ulid: str) -> str:
        return f"{self.root}events/{ulid}"

    def token(self, token_id: str) -> str:
        return f"{self.root}tokens/{token_id}"

    def parse(self, key: str) -> tuple[str, ...]:
        """Path below the cluster's root, split: ('run', 'groups', 'web')."""
        return tuple(key.removeprefix(self.root).split("/"))
