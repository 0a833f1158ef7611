"""RegisterImage while it is under way: clients that ask again, rehearsals, names that are taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from cloudcore.api.site import Api, Reply
from cloudcore.domain.quotas import LIMITS
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.faults import TimedOut
from cloudcore.rpc.images import ImageLocation, InspectedImage
from cloudcore.signing.heads import Head, body_hash
from cloudcore.signing.signer import Signer, sign
from tests.api.conftest import ALICE, VERSIONS, Answer, House, a_house, an_image


class Worker:
    """Takes its time: answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[ImageLocation, Deferred[InspectedImage]]] = []

    def adopt(self, request: ImageLocation) -> Deferred[InspectedImage]:
        answer: Deferred[InspectedImage] = Deferred()
        self.asked.append((request, answer))
        return answer

    def finish(self) -> None:
        request, answer = self.asked.pop(0)
        answer.callback(InspectedImage(request.target, "0" * 64, 1 << 20, "qcow2", 1 << 30))

    def fail(self) -> None:
        self.asked.pop(0)[1].errback(Failure(CloudError(Code.IMAGE_INVALID, "no image")))


class Client:
    def __init__(self, house: House, worker: Worker) -> None:
        self._house, self._api = house, Api(replace(house.cloud, images=worker))

    def register(self, who: str = "alice", **parameters: Any) -> list[Answer]:
        """Where the answer will be."""
        asked = {"Action": "RegisterImage", "Version": VERSIONS["ec2"], "Name": "big", "ImageLocation": "b/k"}
        body = urlencode({**asked, **parameters}).encode()
        sent = {"host": "cloud", "content-type": "application/x-www-form-urlencoded"}
        signer = Signer(*self._house.keys[who], "us-east-2", "ec2")
        head = sign(Head("POST", "/", "", sent), signer, self._house.clock.seconds(), body_hash(body))
        raw = [(name.encode(), [value.encode()]) for name, value in head.items()]
        got: list[Answer] = []

        def take(reply: Reply) -> None:
            got.append(Answer(reply))

        Deferred.fromCoroutine(self._api.respond(b"POST", b"/", raw, body)).addCallback(take)
        return got


def test_the_same_registration_meanwhile_is_the_same_image(house: House) -> None:
    worker = Worker()
    client = Client(house, worker)
    answers = [client.register() for _ in range(3)]
    other = client.register("bob")
    assert len(worker.asked) == 2 and not any(answers)
    worker.finish()
    worker.finish()
    ids = {answer[0].text("imageId") for answer in answers}
    assert len(ids) == 1 and all(answer[0].status == 200 for answer in answers)
    assert other[0].status == 200 and other[0].text("imageId") not in ids
    assert client.register()[0].code == "InvalidAMIName.Duplicate"


def test_a_slow_registration_is_remembered_for_the_client_that_gave_up_just_before_its_end(house: House) -> None:
    worker = Worker()
    client = Client(house, worker)
    first = client.register()
    house.clock.advance(61)
    worker.finish()
    house.clock.advance(20)
    again = client.register()
    assert again[0].text("imageId") == first[0].text("imageId") != ""
    assert client.register(Description="another")[0].code == "InvalidAMIName.Duplicate"
    house.ask("DeregisterImage", ImageId=first[0].text("imageId"))
    fresh = client.register()
    worker.finish()
    assert fresh[0].text("imageId") not in ("", first[0].text("imageId"))
    house.clock.advance(62)
    assert client.register()[0].code == "InvalidAMIName.Duplicate"


def test_a_failure_is_told_to_all_and_not_remembered(house: House) -> None:
    worker = Worker()
    client = Client(house, worker)
    answers = [client.register(), client.register()]
    house.clock.advance(61)
    worker.fail()
    assert [answer[0].code for answer in answers] == ["InvalidParameterValue"] * 2
    once_more = client.register()
    worker.finish()
    assert once_more[0].status == 200


def test_nothing_is_read_for_a_rehearsal_or_for_a_name_that_is_taken(house: House) -> None:
    """The worker may write: it puts the parts of a bundle together."""
    worker = Worker()
    client = Client(house, worker)
    assert client.register(DryRun="true")[0].code == "DryRunOperation"
    assert client.register(Name="tiny")[0].code == "InvalidAMIName.Duplicate"
    assert client.register(Name="tiny", DryRun="true")[0].code == "InvalidAMIName.Duplicate"
    assert client.register(RootDeviceName="x" * 129)[0].code == "InvalidParameterValue"
    assert worker.asked == []
    begun = client.register()
    assert client.register(DryRun="true")[0].code == "DryRunOperation"
    worker.finish()
    assert begun[0].status == 200


def test_who_has_no_room_for_a_snapshot_has_no_object_read() -> None:
    for house in a_house({**LIMITS, "snapshots": 0}):
        for more in ({}, {"DryRun": "true"}):
            answer = house.ask("RegisterImage", Name="one", ImageLocation="bucket/disk", **more)
            assert answer.code == "SnapshotLimitExceeded", answer
        assert not house.beyond.inspected


def unwanted(house: House) -> list[str]:
    """Places whose objects are due to go."""
    every = "SELECT subject FROM operations WHERE kind = 'discard' AND state = 'open'"
    return house.works(lambda books: list(books._connection.exec_driver_sql(every).scalars()))


def test_what_was_copied_for_an_image_that_never_came_to_be_goes(house: House) -> None:
    """Whoever copies may be done after nobody waits for it any more."""
    worker = Worker()
    client = Client(house, worker)
    late, taken, mistaken = client.register(), client.register(Name="mine"), client.register(Name="none")
    places = [request.target for request, _ in worker.asked]
    worker.asked.pop(0)[1].errback(Failure(TimedOut("images")))
    assert late[0].code == "Unavailable"
    assert unwanted(house) == places[:1]
    house.works(lambda books: books.images.insert(an_image("ami-00000000000000009", ALICE, "mine")))
    worker.finish()
    assert taken[0].code == "InvalidAMIName.Duplicate"
    worker.fail()
    assert mistaken[0].code == "InvalidParameterValue"
    assert unwanted(house) == places[:2], "where nothing was copied nothing has to go"
