"""Django, Flask and Bottle from PyPI, each loaded once and asked by forks, behind nginx.

The packages are installed into a folder of the test's, which the applications name: root's cache would be out of reach
for the user that scripts run as.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Place, Serve
from tests.servers import Nginx, Server

pytestmark = pytest.mark.web

PACKAGES = ("django>=5", "flask>=3", "bottle>=0.13")
FLASK = """
from flask import Flask, Response, request
application = Flask(__name__)

@application.route("/hello/<name>")
def hello(name):
    return f"hello {name} from {request.environ['REMOTE_USER']}"

@application.post("/upload")
def upload():
    return str(len(request.files["file"].read()))

@application.route("/stream")
def stream():
    return Response((f"{n}," for n in range(1000)), mimetype="text/plain")

@application.route("/raise")
def fail():
    raise RuntimeError("on purpose")
"""
BOTTLE = """
from bottle import Bottle, request
application = Bottle()

@application.route("/hello/<name>")
def hello(name):
    return f"hello {name} from {request.environ['REMOTE_USER']}"

@application.post("/upload")
def upload():
    return str(len(request.files["file"].file.read()))

@application.route("/stream")
def stream():
    return (f"{n}," for n in range(1000))

@application.route("/raise")
def fail():
    raise RuntimeError("on purpose")
"""
DJANGO = """
from django.conf import settings
settings.configure(SECRET_KEY="for a test", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

def hello(request, name):
    return HttpResponse(f"hello {name} from {request.META['REMOTE_USER']}")

def upload(request):
    return HttpResponse(str(len(request.FILES["file"].read())))

def stream(request):
    return StreamingHttpResponse(f"{n}," for n in range(1000))

def fail(request):
    raise RuntimeError("on purpose")

urlpatterns = [path("hello/<name>", hello), path("upload", upload), path("stream", stream), path("raise", fail)]
application = get_wsgi_application()
"""
APPLICATIONS = {"flask": FLASK, "bottle": BOTTLE, "django": DJANGO}


@pytest.fixture(scope="module")
def packages() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="selcgi-packages-", dir="/var/tmp"))
    folder.chmod(0o755)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--root-user-action=ignore"]
    subprocess.run([*pip, f"--target={folder}", *PACKAGES], check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=APPLICATIONS)
def front(
    request: pytest.FixtureRequest, place: Place, serve: Serve, cgroup: Path, packages: Path
) -> Iterator[tuple[Server, str]]:
    place.rules("* user_webapp_t:s0 warm=wsgi")
    name = f"{request.param}_site.py"
    place.script(name, f"import sys\nsys.path.append({str(packages)!r})\n{APPLICATIONS[request.param]}")
    with (
        serve(f"--cgroup={cgroup}", identity=f"proof:{place.proof()}") as selcgi,
        Nginx(place.folder, place.cgi, selcgi.socket) as nginx,
    ):
        yield nginx, name


def test_a_framework_is_served(front: tuple[Server, str], place: Place) -> None:
    nginx, name = front
    file = place.folder / "upload"
    file.write_bytes(b"x" * 3_000_000)
    assert nginx.ask(f"{name}/hello/world", "alice") == (200, "hello world from alice")
    assert nginx.ask(f"{name}/hello/world", "bob") == (200, "hello world from bob")
    assert nginx.ask(f"{name}/upload", "alice", "-F", f"file=@{file}") == (200, "3000000")
    assert nginx.ask(f"{name}/stream", "alice") == (200, "".join(f"{n}," for n in range(1000)))
    assert nginx.ask(f"{name}/nothing", "alice")[0] == 404
    status, text = nginx.ask(f"{name}/raise", "alice")
    assert status == 500
    assert "on purpose" not in text
