"""What must hold at the end of a run, whatever the seed: sentences for what does not."""

from __future__ import annotations

from typing import Any

from coopnode.ingest import MAX_PARKED
from protocol.limits import MAX_LINKS, SAMPLED_LINKS


def verdict(result: dict[str, Any]) -> list[str]:
    """Return a sentence for each invariant that the run has violated; none is best."""
    wrong: list[str] = []
    _judge_health(result, wrong)
    _judge_broadcast(result, wrong)
    _judge_scenario(result, wrong)
    return wrong


def _judge_health(result: dict[str, Any], wrong: list[str]) -> None:
    health, bounds = result["health"], result["bounds"]
    if health["frontiers"] > 1:
        wrong.append(f"At the end the nodes hold {health['frontiers']} different sets of items.")
    if health["forged_accepted"]:
        wrong.append(f"{health['forged_accepted']} forged items were accepted.")
    if health["older_accepted"]:
        wrong.append(f"{health['older_accepted']} times an older head took the place of a newer one.")
    if health["own_untold"]:
        wrong.append(f"{health['own_untold']} own words were not told to all links.")
    if health["twins"]:
        wrong.append(f"{health['twins']} nodes were told that they have a twin, and none has.")
    unexpected = {name: count for name, count in health["faults"].items() if not bounds.get("fault " + name)}
    if unexpected:
        said = ", ".join(f"{count} for {name}" for name, count in unexpected.items())
        wrong.append(f"Sessions between honest nodes ended with a fault: {said}.")
    # One place a stream, and one beside it where a member has said two things.
    if health["longest_queue"] > bounds.get("longest_queue", 2 * result["nodes"]):
        wrong.append(f"A queue grew to {health['longest_queue']} items.")
    if health["told_twice"] > bounds.get("told_twice", 1 << 60):
        wrong.append(f"{health['told_twice']} words were told twice over one link.")
    if health["most_parked"] > MAX_PARKED:
        wrong.append(f"A node parked {health['most_parked']} items.")
    if health["suspected"] > bounds.get("suspected", 1 << 60):
        wrong.append(f"{health['suspected']} links were suspected though nobody was away.")
    if health["suspected"] < bounds.get("suspected_least", 0):
        wrong.append(f"Only {health['suspected']} links were suspected though many had fallen silent.")
    links = result["links"]
    if links["most"] > MAX_LINKS + SAMPLED_LINKS:
        wrong.append(f"A node has {links['most']} links.")
    if links["fewest"] < bounds.get("links_fewest", 1):
        wrong.append(f"A node has only {links['fewest']} links.")
    if links["own_fewest"] < bounds.get("own_fewest", 0):
        wrong.append(f"A node has only {links['own_fewest']} links of its own choice.")


def _judge_broadcast(result: dict[str, Any], wrong: list[str]) -> None:
    told, bounds = result.get("broadcast"), result["bounds"]
    if told is None:
        return
    if told["missed"]:
        wrong.append(f"{told['missed']} times a node has missed a word.")
    if told["redundancy"] > bounds.get("redundancy", 1 << 60):
        wrong.append(f"The payload redundancy is {told['redundancy']}, more than {bounds['redundancy']:.3f}.")
    if told["last_hop"] > bounds.get("last_hop", 1 << 60):
        wrong.append(f"A word took {told['last_hop']} hops, more than {bounds['last_hop']:.0f}.")
    if told["to_all_ms"]["max"] > bounds.get("to_all_ms", 1 << 60):
        wrong.append(f"A word took {told['to_all_ms']['max']} ms to reach all, more than {bounds['to_all_ms']:.0f}.")
    deliveries = max(1, told["words"] * (told["living"] - 1))
    if told["brought_by_anti_entropy"] / deliveries > bounds.get("brought", 1):
        wrong.append(
            f"{told['brought_by_anti_entropy']} of {deliveries} deliveries came by anti-entropy, not by broadcast."
        )


def _judge_scenario(result: dict[str, Any], wrong: list[str]) -> None:
    own, bounds = result.get("scenario_figures", {}), result["bounds"]
    wrong.extend(dict.fromkeys(own.get("rules_broken", ())))
    if own.get("recovered_ms", 0) > bounds.get("recovered_ms", 1 << 60):
        wrong.append(f"The survivors were current after {own['recovered_ms']} ms, not {bounds['recovered_ms']:.0f}.")
    if own.get("later_words_to_all_ms", {}).get("max", 0) > bounds.get("later_ms", 1 << 60):
        wrong.append(f"Long after the crash a word took {own['later_words_to_all_ms']['max']} ms to reach all.")
    if "equal_after_s" in own and (own["equal_after_s"] is None or own["equal_after_s"] > bounds["equal_after_s"]):
        wrong.append(f"All were equal after {own['equal_after_s']} s, not {bounds['equal_after_s']:.0f}.")
    if own.get("calls_to_hidden"):
        wrong.append(f"{own['calls_to_hidden']} calls went to nodes that cannot be called.")
    if own.get("evidence_missing"):
        wrong.append(
            f"{own['evidence_missing']} times a node does not keep the proof that a member has said two things."
        )
    if own.get("all_delivered_while_they_lied") is False:
        wrong.append("Not everything was delivered while the liars lied.")
    for name in (
        "no_change",
        "changes",
        "changes_cursor_lost",
        "changes_both_cursors_lost",
        "all_changed",
        "most_lost",
    ):
        met = own.get(name)
        if met is None:
            continue
        if not met["cursors_kept"]:
            wrong.append(f"Two nodes that met again ({name}) have not noted how far they have heard each other out.")
        if not met["equal"]:
            wrong.append(f"Two nodes that met again ({name}) did not become equal.")
        bound = bounds["reconnect_" + name]
        if met["bytes_after_handshake"] > bound:
            wrong.append(f"Meeting again ({name}) took {met['bytes_after_handshake']} bytes, more than {bound:.0f}.")
