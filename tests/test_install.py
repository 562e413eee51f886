"""Set-up takes up from any state and does nothing when there is nothing to do."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import install
import pytest

FOLDER = Path(install.__file__).parent

# Stands for .venv/bin/python: `-c` succeeds, `-m pip` notes that it ran and does as it is told.
PYTHON = """#!/bin/sh
[ "$1" = -c ] && exit 0
here=$(dirname "$0")
echo pip >>"$here/ran"
echo Collecting one
. "$here/told"
"""
NO_SUCH_PACKAGE = 'echo "ERROR: no such package"; exit 1'
KILLED_WHILE_UNPACKING = 'echo "Installing collected packages: one"; sleep 0.2; kill -9 $PPID'


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder to install, whose .venv is made at once and whose pip is a shell script."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "constraints.txt").write_text("keras==3.15.1\n")

    def make_venv(venv):
        (venv / "bin").mkdir(parents=True)
        (venv / "bin" / "python").write_text(PYTHON)
        (venv / "bin" / "python").chmod(0o755)
        (venv / "bin" / "told").write_text('echo "Installing collected packages: one"')

    monkeypatch.setattr(install, "_make_venv", make_venv)
    return root


def tell_pip(root, what):
    (root / ".venv" / "bin" / "told").write_text(what)


def runs_of_pip(root):
    """How often pip ran in the .venv that stands there now."""
    ran = root / ".venv" / "bin" / "ran"
    return len(ran.read_text().split()) if ran.exists() else 0


def test_second_time_does_nothing(project):
    assert not install.is_installed(project)
    install.main(project)
    assert install.is_installed(project)
    install.main(project)
    assert runs_of_pip(project) == 1


def test_newer_file_times_alone_do_nothing(project):
    install.main(project)
    for name in ("pyproject.toml", "constraints.txt"):
        os.utime(project / name, (time.time() + 60, time.time() + 60))
    install.main(project)
    assert runs_of_pip(project) == 1


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed_into_what_is_there(project, name):
    install.main(project)
    (project / name).write_text("# changed\n")
    assert not install.is_installed(project)
    install.main(project)
    assert install.is_installed(project)
    assert runs_of_pip(project) == 2


def test_moved_folder_is_installed_again(project):
    install.main(project)
    moved = project.rename(project.parent / "moved")
    assert not install.is_installed(moved)
    install.main(moved)
    assert install.is_installed(moved)


def break_by_killing_it_in_the_middle(venv, pip=KILLED_WHILE_UNPACKING):
    wanted = venv.parent / "pyproject.toml"
    before = wanted.read_text()
    wanted.write_text("# changed\n")
    tell_pip(venv.parent, pip)
    program = f"import install, pathlib; install.main(pathlib.Path({str(venv.parent)!r}))"
    killed = subprocess.run([sys.executable, "-c", program], cwd=FOLDER, stdout=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    wanted.write_text(before)
    tell_pip(venv.parent, "")


def break_by_killing_the_making_of_it(venv):
    shutil.rmtree(venv)
    venv.mkdir()
    (venv / "begun").touch()


def break_by_removing_python(venv):
    (venv / "bin" / "python").unlink()


def break_by_a_dangling_link(venv):
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to("/nowhere/python")


def break_by_emptying_it(venv):
    shutil.rmtree(venv)
    venv.mkdir()


@pytest.mark.parametrize(
    "break_it",
    [
        break_by_killing_it_in_the_middle,
        break_by_killing_the_making_of_it,
        break_by_removing_python,
        break_by_a_dangling_link,
        break_by_emptying_it,
    ],
)
def test_broken_environment_is_made_anew(project, break_it):
    install.main(project)
    (project / ".venv" / "leftover").touch()
    break_it(project / ".venv")
    install.main(project)
    assert install.is_installed(project)
    assert runs_of_pip(project) == 1
    assert not (project / ".venv" / "leftover").exists()


def test_environment_made_by_hand_is_filled(project):
    install._make_venv(project / ".venv")
    (project / ".venv" / "mine").touch()
    install.main(project)
    assert install.is_installed(project)
    assert (project / ".venv" / "mine").exists()


def test_killed_making_of_the_environment_is_noticed(project, monkeypatch):
    def killed(venv):
        (venv / "bin").mkdir()
        raise KeyboardInterrupt

    make_venv = install._make_venv
    monkeypatch.setattr(install, "_make_venv", killed)
    with pytest.raises(KeyboardInterrupt):
        install.main(project)
    monkeypatch.setattr(install, "_make_venv", make_venv)
    install.main(project)
    assert install.is_installed(project)


def test_failure_before_anything_changed_says_why_and_keeps_what_is_there(project, capsys):
    install.main(project)
    (project / "pyproject.toml").write_text("# changed\n")
    tell_pip(project, NO_SUCH_PACKAGE)
    with pytest.raises(install.InstallError, match="run the same command again"):
        install.main(project)
    assert "ERROR: no such package" in capsys.readouterr().err
    assert not install.is_installed(project)
    tell_pip(project, "")
    (project / ".venv" / "mine").touch()
    install.main(project)
    assert install.is_installed(project)
    assert (project / ".venv" / "mine").exists()


def test_pip_that_outlives_a_killed_installation_is_waited_for(project):
    install.main(project)
    late = project / ".venv" / "bin" / "late"
    pip = f"{KILLED_WHILE_UNPACKING}; sleep 0.5; touch {late}"
    break_by_killing_it_in_the_middle(project / ".venv", pip)
    install.main(project)
    time.sleep(0.6)
    assert not late.exists()


def test_two_at_once_install_once(project):
    release = threading.Event()
    inside = threading.Event()

    def hold():
        with install._alone_in(project) as lock:
            inside.set()
            release.wait()
            install._make_venv(project / ".venv")
            install._install(project, lock)
            (project / ".venv" / "installed").write_text(install._fingerprint(project))
            (project / ".venv" / "begun").unlink()

    first = threading.Thread(target=hold, daemon=True)
    second = threading.Thread(target=install.main, args=(project,), daemon=True)
    first.start()
    inside.wait()
    second.start()
    second.join(timeout=0.3)
    assert second.is_alive()
    release.set()
    first.join()
    second.join()
    assert runs_of_pip(project) == 1


def make_setup(python):
    return subprocess.run(
        ["make", "--no-print-directory", "setup", f"PYTHON={python}"],
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def python_of_version(tmp_path):
    """Make a script that answers the Makefile's question as a Python of that version would."""

    def make(version):
        python = tmp_path / "python"
        question = f'"import sys; sys.version_info = {version}; $2"'
        python.write_text(
            f'#!/bin/sh\n[ "$1" = -c ] || exec echo "ran $1"\n{sys.executable} -c {question}\n'
        )
        python.chmod(0o755)
        return python

    return make


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_make_installs_with_a_suitable_python(python_of_version, version):
    assert make_setup(python_of_version(version)).stdout == "ran .ci/install.py\n"


@pytest.mark.parametrize("version", [(2, 7), (3, 10), (3, 14)])
def test_make_refuses_other_versions_in_one_line(python_of_version, version):
    python = python_of_version(version)
    finished = make_setup(python)
    assert finished.returncode != 0
    error, *rest = finished.stderr.splitlines()
    assert error.startswith(f"error: no Python 3.11, 3.12 or 3.13 among: {python}.")
    assert len(rest) == 1  # make's own line


def test_make_refuses_what_is_no_python_in_one_line():
    finished = make_setup("/nowhere/python")
    assert finished.stderr.splitlines()[0].startswith("error: no Python 3.11, 3.12 or 3.13 among")
