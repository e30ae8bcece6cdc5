"""The address book: who is there and where, by the last word that came."""

from __future__ import annotations

from holdfast.shardmap import Replica
from holdfast_node.address_book import AddressBook
from holdfast_node.talk import NodeNews

ONE, TWO = NodeNews(1, "a:1", "a:2", "x"), NodeNews(2, "b:1", "", "")


def test_it_knows_nodes_by_id() -> None:
    """A node that is not known has no address, and nothing breaks by that."""
    book = AddressBook((TWO, ONE), (1,))

    assert book.nodes() == [ONE, TWO]
    assert (book.get(2), book.get(3)) == (TWO, None)
    assert (book.address(1), book.address(9)) == ("a:1", "")
    assert book.replicas_of((9, 1)) == (Replica(9, ""), Replica(1, "a:1"))


def test_peers_are_the_others() -> None:
    """What the transport is told."""
    assert AddressBook((ONE, TWO), ()).peers_of(1) == {2: "b:1"}


def test_news_replace_all_of_it() -> None:
    """Nodes that are no more have no address any more; one that moved has its new one."""
    book = AddressBook((ONE, TWO), (1, 2))
    book.take((ONE._replace(address="c:1"),), (1,))

    assert (book.address(1), book.address(2), book.placement) == ("c:1", "", (1,))
    assert repr(book) == "<AddressBook nodes [1], placement 0 on (1,)>"


def test_where_the_placement_group_is_never_goes_back() -> None:
    """Groups' ids grow along its moves: news that come late name nodes, and not where it was before."""
    book = AddressBook((ONE, TWO), (1,), 1)
    book.take_placement(9, (2,))
    book.take((ONE, TWO), (1,), 1)
    book.take_placement(1, (1,))

    assert (book.placement, book.placement_group) == ((2,), 9)
    book.take((ONE,), (1,), 12)
    assert book.placement == (1,)
