"""What `up` does: prepare the state, seed it, run the whole cloud in this process or a detached one, lead to a guest.

`start` is the composition root (daemon/all_in_one.py): everything here knows of it only that it starts, and stops.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger, LogLevel, globalLogBeginner

import cloudcore
from cloudcore.cli import card, census, database, first, machine, reactor, seeding, state
from cloudcore.cli.client import Client, healthy
from cloudcore.cli.environment import key_of, urls
from cloudcore.cli.printing import DONE, FAILED, TIMED_OUT, Console, Refusal, called
from cloudcore.cli.progress import Step, step
from cloudcore.config.model import Config
from cloudcore.config.places import endpoints_file, log_file, private_key_file
from cloudcore.daemon.json_log import JsonLines, observer
from cloudcore.errors import CloudError, Code
from cloudcore.process.garbage import settle
from cloudcore.virt import kvm_selftest

log = Logger()
LEAST_FREE = 1 << 30  # bytes of disk for a first guest and its images
AGAIN = 0.1  # seconds between looks for a detached cloud


class Running(Protocol):
    """What the composition root hands back once everything listens."""

    def stop(self) -> Deferred[None]:
        """Ends the daemons in order; guests go on."""


Start = Callable[[Any, Config, Path], Coroutine[Any, Any, Running]]


def up(options: Any, console: Console, start: Start) -> int:
    began = time.monotonic()
    config = machine.with_driver(state.configuration(options), options.state, options.driver)
    options.driver = config.compute.driver
    check_space(options.state)
    options.again = bool(machine.recorded(options.state))
    if state.holder(options.state) is None:
        machine.check_ports(config)
        if not options.again and not options.in_background:
            announce(console, config, options.state)
    state.prepare(options.state)  # only now: what is refused leaves nothing behind
    if options.detach:
        return detached(options, console, config, began)
    return here(options, console, config, start)


def announce(console: Console, config: Config, directory: Path) -> None:
    """What a first start changes, before it does."""
    console.note("This makes:")
    rest = "everything"
    if config.compute.driver == "libvirt":
        console.note(f"  bridge {config.network.bridge} ({config.network.cidr}, NAT) with DHCP, nftables tables named "
                     f"{config.network.table}")
        console.note("  while it is there: IPv4 forwarding, 169.254.169.254 on lo, the kernel module br_netfilter")
        console.note("  a private libvirtd and the guests you launch; no service is enabled, nothing goes to /etc")
        rest = "everything else"
    console.note(f"  {rest} under {directory}")
    console.note("Undo: make clean" if directory == Path("var").absolute() else
                 f"Undo: {called()} down --purge --state {shlex.quote(str(directory))}")


def check_space(directory: Path) -> None:
    place = next(place for place in (directory, *directory.parents) if place.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        text = f"the state directory {directory} cannot be made: {place} is not writable"
        raise CloudError(Code.STATE_DIRECTORY, text)
    stat = os.statvfs(place)
    free = stat.f_bavail * stat.f_frsize
    if free < LEAST_FREE:
        raise Refusal(Code.STATE_DIRECTORY, f"{free >> 20} MiB free under {directory}, 1 GiB needed",
                      "--state DIR on a larger disk    or: make run STATE=DIR", status=FAILED)


# -- in this process -----------------------------------------------------------------------------------------------


def here(options: Any, console: Console, config: Config, start: Start) -> int:
    """Runs until SIGINT or SIGTERM."""
    lock = state.Lock(options.state)
    lock.take(config.compute.driver)
    try:
        endpoints_file(options.state).unlink(missing_ok=True)
        database.make(config, options.state)
        machine.record(options.state, config.compute.driver)
        log_to(config, options.state)
        return reactor.run(lambda clock: serve(clock, options, console, config, start))
    except KeyboardInterrupt:
        return DONE
    finally:
        endpoints_file(options.state).unlink(missing_ok=True)
        lock.free()


async def serve(clock: Any, options: Any, console: Console, config: Config, start: Start) -> int:
    """Returns only when the start fails; the end of a cloud that runs is the reactor's."""
    began = time.monotonic()
    opened = database.open_database(clock, config, options.state)
    opened.database.startService()
    await seeding.seed(opened, options.state)
    if not options.in_background:
        await tell_found(opened, options, console)
    with nullcontext(Step("", console.err)) if options.in_background else step("daemons", console.err) as shown:
        running = await started(clock, start(clock, config, options.state))
        shown.result = " ".join(doors(options.state))
    settle()
    clock.addSystemEventTrigger("before", "shutdown", stopping(console, options, opened, running))
    if not options.in_background:
        await warn_of_emulation(clock, config, options, console)
        key = await key_of(opened.auth, seeding.DEFAULT_USER)
        setting = first.Setting(clock, config, options.state, client_of(config, options.state, key), key)
        arrival(clock, options, console, setting, began)
    await Deferred()
    return DONE


async def started(clock: Any, start: Coroutine[Any, Any, Running]) -> Running:
    """Waits for it; when the reactor ends first it is cancelled, so that what it has begun ends too: a thread pool left
    behind would keep the process for ever."""
    under_way: Deferred[Running] = Deferred.fromCoroutine(start)
    ended: Deferred[None] = Deferred()
    interrupted = False

    def tell_ended(result: Any) -> Any:
        ended.callback(None)
        return result

    under_way.addBoth(tell_ended)

    def give_up() -> Deferred[None]:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, at_once)
        under_way.cancel()
        return ended

    trigger = clock.addSystemEventTrigger("before", "shutdown", give_up)
    try:
        running = await under_way
    except CancelledError:
        if interrupted:
            await Deferred()  # for ever: the reactor is ending, and what was interrupted has no outcome
        raise
    clock.removeSystemEventTrigger(trigger)
    return running


def stopping(console: Console, options: Any, opened: database.Open,
             running: Running) -> Callable[[], Deferred[None]]:
    """The trigger that ends a cloud in order, telling people what goes on without it."""

    async def stop() -> None:
        began = time.monotonic()
        if not options.in_background:
            signal.signal(signal.SIGINT, at_once)
            console.note("\nStopping cloudcore …")
        left = ""
        try:
            left = census.going_on((await opened.database.look(census.holdings))[0])
            await running.stop()
        except CancelledError:
            raise
        except Exception:
            log.failure("stopping")
        opened.database.stopService()
        if not options.in_background:
            console.note(f"Stopped ({time.monotonic() - began:.1f} s). {left}".rstrip())
            console.note("Start again: make run     Stop everything: make down     Delete everything: make clean")

    return lambda: Deferred.fromCoroutine(stop())


def at_once(*_: object) -> None:
    """A second Ctrl-C. No `print`: the signal may have come amid one."""
    os.write(2, b"\nStopped at once; the next start recovers.\n")
    os._exit(130)


def arrival(clock: Any, options: Any, console: Console, setting: first.Setting, began: float) -> None:
    """Key pair, first instance and card, in a thread beside the daemons; what fails there ends nothing."""
    done = reactor.in_thread(clock, arrive, options, console, setting, began)

    def told(failure: Any) -> None:
        if failure.check(CloudError):
            console.error(failure.value)
        else:
            log.failure("first instance", failure)
            said = failure.getErrorMessage() or failure.type.__name__
            console.error(Refusal(Code.INTERNAL, f"the first instance: {said}", f"{called()} logs", status=FAILED))

    done.addErrback(told)


def log_to(config: Config, directory: Path) -> None:
    file = log_file(config, directory)
    out = os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8")
    observer(out)  # leads the standard library's logging into Twisted's
    lines = JsonLines(out, LogLevel.levelWithName(config.log.level))
    globalLogBeginner.beginLoggingTo([lines], redirectStandardIO=False, discardBuffer=True)


# -- detached ------------------------------------------------------------------------------------------------------


def detached(options: Any, console: Console, config: Config, began: float) -> int:
    """Starts another of us as a session of its own; returns once every endpoint answers."""
    if (running := state.holder(options.state)) is not None:
        raise Refusal(Code.IN_USE, f"this cloud is running already (process {running.pid})",
                      "cloudcore status    or: cloudcore down")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that `end` sees to the child
    output = options.state / "log" / "up.log"
    with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out, \
            step("daemons", console.err) as shown:
        child = subprocess.Popen(again(options), stdin=subprocess.DEVNULL, stdout=out, stderr=out,  # noqa: S603
                                 start_new_session=True, cwd="/", env=environment())
        try:
            found = await_endpoints(child, options)
        except BaseException:
            end(child)
            raise
        shown.result = " ".join(sorted(found))

    async def work(opened: database.Open) -> None:
        await tell_found(opened, options, console)
        await warn_of_emulation(opened.clock, config, options, console)
        key = await key_of(opened.auth, seeding.DEFAULT_USER)
        client = client_of(config, options.state, key)
        setting = first.Setting(opened.clock, config, options.state, client, key)
        await reactor.in_thread(opened.clock, arrive, options, console, setting, began)

    database.with_database(options, work)
    return DONE


def again(options: Any) -> list[str]:
    """This very program, without `--detach`."""
    more = ["--config", str(Path(options.config).absolute())] if options.config else []
    program = [sys.executable, "-P", str(Path(sys.argv[0]).absolute())]
    return [*program, "up", "--in-background", "--state", str(options.state), "--driver", options.driver, *more]


def environment() -> dict[str, str]:
    """Ours; where `cloudcore` was found from the current directory, the child finds it too."""
    root = str(Path(cloudcore.__file__).resolve().parents[1])
    path = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, *(part for part in path if part != root)])}


def await_endpoints(child: subprocess.Popen[bytes], options: Any) -> dict[str, str]:
    """URLs by name once all answer. Raises in the child's own words when it ends, TIMED_OUT when it takes too long."""
    deadline = time.monotonic() + options.timeout
    missing = "it has not said where it listens"
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise Refusal(Code.PROGRAM_FAILED, *said(options.state), status=FAILED)
        written = state.endpoints(options.state)
        found = {name: url for name, url in written.items() if str(url).startswith("http")}
        if found and written.get("pid") == child.pid:
            silent = [f"{name} {url}: {reason}" for name, url in found.items()
                      for well, reason in [healthy(url)] if not well]
            if not silent:
                return found
            missing = "; ".join(silent)
        time.sleep(AGAIN)
    raise Refusal(Code.UNAVAILABLE, f"the cloud was not ready after {options.timeout:.0f} s: {missing}",
                  f"cloudcore logs --state {options.state}", status=TIMED_OUT)


def said(directory: Path) -> tuple[str, str, str]:
    """Error, hint and reason of a detached cloud that ended: in its own words if it had any."""
    lines = (directory / "log" / "up.log").read_text(errors="replace").splitlines()
    words = {"error:": "", "why:": "", "try:": ""}
    for line in lines:
        label = line[:6].strip()
        if label in words:
            words[label] = line[7:].strip()
            last = label
        elif words["error:"] and line.startswith("       "):
            words[last] += "\n" + line[7:]
    if words["error:"]:
        return words["error:"], words["try:"], words["why:"]
    return "the cloud ended while it started", f"cloudcore logs --state {directory}", "\n".join(lines[-8:])


def end(child: subprocess.Popen[bytes]) -> None:
    """No half of a cloud is left behind."""
    for number, seconds in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
        if child.poll() is None:
            child.send_signal(number)
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                continue


# -- what is there ---------------------------------------------------------------------------------------------------


async def tell_found(opened: database.Open, options: Any, console: Console) -> None:
    """A later start names what it goes on with."""
    if options.again:
        held = census.found(*await opened.database.look(census.holdings))
        console.note(f"state found in {card.short(options.state)}: {held}")


async def warn_of_emulation(clock: Any, config: Config, options: Any, console: Console) -> None:
    """The host has tried by now, so the answer is there already."""
    if config.compute.driver == "libvirt" and await kvm_selftest.virt_type(clock, options.state) != "kvm":
        console.warn(machine.emulation()[0])


def doors(directory: Path) -> list[str]:
    return sorted(name for name, url in state.endpoints(directory).items() if str(url).startswith("http"))


# -- once it runs --------------------------------------------------------------------------------------------------


def client_of(config: Config, directory: Path, key: Any) -> Client:
    return Client(**urls(config, directory), region=config.cloud.region, key=key)


def arrive(options: Any, console: Console, setting: first.Setting, began: float) -> None:
    """Default key pair and, unless told not to, the first instance; then the card."""
    first.key_pair(setting)
    address, problem = "", None
    if not options.no_first_instance:
        try:
            launched = first.launch(setting, console)
            address = launched.address if setting.config.compute.driver != "simulated" else ""
        except CloudError as refusal:
            problem = refusal  # the cloud runs all the same: the card comes first
    shown = card.Card(
        urls(setting.config, setting.state), setting.config.cloud.region, setting.key.id, called(), setting.state,
        log_file(setting.config, setting.state), private_key_file(setting.state), address,
        card.missing_clients())
    console.line(shown.text(time.monotonic() - began))
    if not options.detach:
        console.line("\n  Ctrl-C stops cloudcore; your VMs keep running.   make status · make logs · make down · "
                     "make clean")
    if problem is not None:
        raise problem
