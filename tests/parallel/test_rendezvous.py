"""How processes find each other, and what each hears if something is wrong; in threads here."""

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from imdb_jax.config import Config, replace
from imdb_jax.errors import UserError
from imdb_jax.parallel import rendezvous
from imdb_jax.parallel.failure import FailureWatch
from imdb_jax.parallel.rendezvous import gather, listen, meet

SAME = {"learning_rate": "0.1"}


@pytest.fixture
def listener():
    with listen(0) as listener:
        yield listener


def outcomes(listener, number, others, seconds=30):
    """What becomes of process 0 of a number, and of others, given by number and characteristics."""
    port = listener.getsockname()[1]
    with ThreadPoolExecutor(len(others) + 1) as pool:
        first = pool.submit(gather, listener, number, SAME, seconds)
        rest = [
            pool.submit(meet, "localhost", port, process, own, seconds) for process, own in others
        ]
        return [f.exception() or f.result() for f in (first, *rest)]


def close(*of_each):
    for peers in of_each:
        for peer in peers.values():
            peer.close()


def one_problem(found):
    """The sentence that all processes end with."""
    assert {type(error) for error in found} == {UserError}
    (problem,) = {str(error) for error in found}
    return problem


def test_each_is_connected_to_the_first(listener):
    first, *rest = outcomes(listener, 4, [(3, SAME), (1, SAME), (2, SAME)])
    assert sorted(first) == [1, 2, 3]
    assert [list(peers) for peers in rest] == [[0]] * 3
    first[2].send({"to": 2})
    assert rest[2][0].receive(30) == {"to": 2}
    # JAX's service can listen where processes met, though they stay connected.
    listen(first[1]._socket.getsockname()[1]).close()
    close(first, *rest)


def test_all_hear_what_differs(listener):
    problem = one_problem(outcomes(listener, 3, [(1, SAME), (2, {"learning_rate": "0.2"})]))
    assert "learning_rate is 0.1 (processes 0, 1) or 0.2 (process 2)" in problem


def test_all_hear_of_two_with_one_number(listener):
    problem = one_problem(outcomes(listener, 3, [(1, SAME), (1, SAME)]))
    assert problem.startswith("two processes of this run have --process-id 1")


def test_all_hear_who_did_not_come(listener):
    problem = one_problem(outcomes(listener, 10**12, [(1, SAME)], seconds=0.3))
    assert "processes 2, 3, 4 and 999999999995 more of 1000000000000 did not connect" in problem


def test_differing_processes_do_not_wait_for_those_that_are_missing(listener, monkeypatch):
    monkeypatch.setattr(rendezvous, "_GRACE_SECONDS", 0.01)
    other = SAME | {"num_processes": "2"}
    problem = one_problem(outcomes(listener, 3, [(1, other)], seconds=1e9))
    assert "num_processes is missing (process 0) or 2 (process 1)" in problem


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n\r\n", b'{"number": "x"}\n', b"[1]\n"])
def test_strangers_are_not_counted(listener, data):
    with socket.create_connection(("localhost", listener.getsockname()[1])) as stranger:
        stranger.sendall(data)
        stranger.shutdown(socket.SHUT_WR)
        first, other = outcomes(listener, 2, [(1, SAME)])
    assert list(first) == [1]
    close(first, other)


def test_who_has_ended_while_waiting_may_come_again(listener):
    with socket.create_connection(("localhost", listener.getsockname()[1])) as ended:
        ended.sendall(b'{"number": 1, "characteristics": {"learning_rate": "0.1"}}\n')
    first, other = outcomes(listener, 2, [(1, SAME)])
    assert (list(first), list(other)) == ([1], [0])
    close(first, other)


def test_a_port_that_is_taken_is_an_error(listener):
    with pytest.raises(UserError, match="process 0 cannot listen on port"):
        listen(listener.getsockname()[1])


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", None])
def test_another_program_at_the_port_is_an_error(listener, monkeypatch, answer):
    monkeypatch.setattr(rendezvous, "_GREETING_SECONDS", 0.01)
    with ThreadPoolExecutor(1) as pool:
        met = pool.submit(meet, "localhost", listener.getsockname()[1], 1, SAME, 30)
        connection, _ = listener.accept()
        with connection:
            if answer:
                connection.sendall(answer)
            with pytest.raises(UserError, match="another program, or a run that has started"):
                met.result()


@pytest.mark.parametrize("host", ["localhost", "a..b"])
def test_a_first_process_that_is_not_there_is_an_error(host):
    with listen(0) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UserError, match=f"cannot reach process 0 at {host}:{port} within"):
        meet(host, port, 1, SAME, 0.2)


@pytest.fixture
def watches(listener):
    """The watches of three processes, and how each would end."""
    first, *rest = outcomes(listener, 3, [(1, SAME), (2, SAME)])
    ends = [[] for _ in range(3)]
    connections = [first, *rest]

    def end(number):
        def act(words):
            ends[number].append(words)
            for peer in connections[number].values():
                with contextlib.suppress(OSError):
                    peer._socket.shutdown(socket.SHUT_RDWR)  # as the system does at a process's end

        return act

    yield [FailureWatch(n, peers, end(n)) for n, peers in enumerate(connections)], ends, end
    for peers in connections:
        close(peers)


def wait_for(watches):
    for watch in watches:
        for thread in watch._threads:
            thread.join(60)
            assert not thread.is_alive()


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failure_ends_the_others_with_its_reason(watches, failing):
    watches, ends, end = watches
    watches[failing].fail("the disk is full")
    end(failing)("")
    others = [n for n in range(3) if n != failing]
    wait_for(watches[n] for n in others)
    assert [ends[n] for n in others] == [[f"process {failing} failed: the disk is full"]] * 2


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_others(watches, killed):
    watches, ends, end = watches
    watches[killed]._ending.acquire()  # its threads are dead, too
    end(killed)("")
    others = [n for n in range(3) if n != killed]
    wait_for(watches[n] for n in others)
    for n in others:
        (words,) = ends[n]
        assert words.startswith(
            f"process {killed} was killed, or crashed; continue the run with --resume"
        )


def test_processes_that_leave_end_no_other(watches):
    watches, ends, _ = watches
    for watch in watches:
        watch.leave()
    wait_for(watches)
    assert ends == [[], [], []]


@pytest.mark.parametrize(
    "address",
    ["localhost", ":1", "h:0", "h:99999", "h:x", "http://h:1", "::1:80", "[::1]:80000", "h\0:1"],
)
def test_a_coordinator_is_a_host_and_a_port(address):
    with pytest.raises(UserError, match=r"coordinator must be HOST:PORT with a port from 1 to"):
        replace(Config(), coordinator=address, num_processes=2, process_id=0)


@pytest.mark.parametrize("address", ["localhost:1", "node-1.cluster_2:65535", "[::1]:80"])
def test_names_and_numbers_are_coordinators(address):
    replace(Config(), coordinator=address, num_processes=2, process_id=1, join_timeout=1)
