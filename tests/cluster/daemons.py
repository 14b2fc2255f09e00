"""What the schedulers of the tests share: daemons of one folder, started and ended, and the commands to ask them."""

import shutil
import signal
import subprocess
import time
from contextlib import suppress


class Daemons:
    """The daemons of a scheduler; its class sets ``folder``, ``environment`` and an empty ``started``."""

    def daemon(self, name, *arguments):
        log = (self.folder / f"{name}.out").open("ab")
        self.started.append(
            subprocess.Popen(
                [shutil.which(name), *arguments], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        )

    def wait(self, what, reached, seconds=60):
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                logs = [*self.folder.glob("*.log"), *self.folder.glob("*.out")]
                texts = "\n".join(f"{f.name}: {f.read_text(errors='replace')[-600:]}" for f in logs)
                raise RuntimeError(f"no {what} within {seconds} s\n{texts}")
            time.sleep(0.2)

    def ask(self, *command):
        done = subprocess.run(
            [*map(str, command)], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout

    def end(self):
        for process in reversed(self.started):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
