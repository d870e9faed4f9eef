"""The rights of every ServiceAccount equal an explicit list."""

import pytest

from tests.k8s.manifests import OVERLAYS, of_kind, pod_templates, rendered

JOBS = {("batch", "jobs", verb) for verb in ("create", "get", "list", "watch", "delete")}
PODS = {("", "pods", verb) for verb in ("get", "list", "watch")} | {("", "pods/log", "get")}
RIGHTS = {
    "dp2o-flow": JOBS | PODS | {("", "events", "list"), ("kueue.x-k8s.io", "workloads", "list")},
    "dp2o-worker": JOBS | PODS,
    "dp2o-stage": set(),
    "dp2o-server": set(),
}


def _rights(overlay: str, account: str) -> set[tuple[str, str, str]]:
    found = set()
    for binding in of_kind(overlay, "RoleBinding").values():
        if {"kind": "ServiceAccount", "name": account, "namespace": "dp2o"} in binding["subjects"]:
            assert binding["roleRef"]["kind"] == "Role"
            for rule in of_kind(overlay, "Role")[binding["roleRef"]["name"]]["rules"]:
                assert set(rule) == {"apiGroups", "resources", "verbs"}
                found |= {
                    (group, resource, verb)
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                    for verb in rule["verbs"]
                }
    return found


@pytest.mark.parametrize("account", RIGHTS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_rights_are_these_and_no_others(overlay: str, account: str) -> None:
    assert _rights(overlay, account) == RIGHTS[account]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_other_account_and_nothing_cluster_wide(overlay: str) -> None:
    assert set(of_kind(overlay, "ServiceAccount")) == set(RIGHTS)
    assert not [one["kind"] for one in rendered(overlay) if one["kind"] in ("ClusterRole", "ClusterRoleBinding")]
    bound = {subject["name"] for one in of_kind(overlay, "RoleBinding").values() for subject in one["subjects"]}
    assert bound == {account for account, rights in RIGHTS.items() if rights}
    used = {template["spec"]["serviceAccountName"] for template in pod_templates(overlay).values()}
    assert used <= set(RIGHTS)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_account_mounts_its_token_unasked(overlay: str) -> None:
    for name, account in of_kind(overlay, "ServiceAccount").items():
        assert account["automountServiceAccountToken"] is False, name
