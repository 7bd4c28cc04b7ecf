"""The grammar of a mapping file in words: the one source of `selcgi map --help` and of selcgi.map(5).

Decides nothing; what a line means is decided in rules.py and options.py, and a test holds that no option is missing
here. Called by cli/mapping.py and cli/man.py.
"""

from dataclasses import dataclass

from selcgi.mapping.rules import LINE_CHARACTERS
from selcgi.mapping.words import ANONYMOUS

INTRO = (
    "A rule is a line: WHO CONTEXT [OPTION..], with blanks between. The first rule that matches decides; when none "
    "does, the request is refused (403). # begins a comment, but not in quotes. Lines are not joined, and have at most "
    f"{LINE_CHARACTERS} characters, all of them printable. A file with a mistake is not loaded; the one in use stays."
)
EXAMPLE = f"""\
# who            context                 options
alice            user_webapp_t:s0:c1
"Bob Miller"     user_webapp_t:s0:c2     script=/srv/cgi/reports/* timeout=120s memory=512M
intern-*         staff_webapp_t:*        host=intranet.example.org
{ANONYMOUS}    anon_webapp_t:s0
*                deny
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a rule: `rows` are what it may be, each with what that means."""

    title: str
    rows: tuple[tuple[str, str], ...]
    lead: str = ""


SECTIONS = (
    Section(
        "Who",
        (
            ("NAME", "That user, character by character."),
            ('"NAME"', r'The same, for a name with blanks or # * ? [ @ in it. In quotes \" and \\ stand for " and \.'),
            (
                "@GROUP",
                'Its members; @"its name" with blanks. One of a --group-file hides a Unix group of its name. A group '
                "that does not exist, or whose service does not answer, is not passed over: the request is refused.",
            ),
            ("GLOB", "* is any characters, / included, ? is one, [a-z] one of these, [!a-z] one that is none of them."),
            (ANONYMOUS, "A request without a user. No glob matches it."),
            ("*", "Everybody, with a user and without."),
        ),
    ),
    Section(
        "Context",
        (
            ("DOMAIN", "The SELinux type that the script runs in. User, role and range are selcgi's own."),
            ("DOMAIN:RANGE", "With a range: s0, s0:c1,c3.c5, s0-s0:c0.c1023, or * for selcgi's own."),
            ("c{user}", "In a range: two categories that are this user's own, as in s0:c{user}."),
            ("c{request}", "Two that no other request has meanwhile, as in s0:c{user}-s0:c{user},c{request}."),
            ("USER:ROLE:DOMAIN[:RANGE]", "All of it. Three fields are DOMAIN:RANGE when the second is s and a number."),
            ("deny", "The request is refused (403). Only script= and host= go with it."),
        ),
    ),
    Section(
        "Options that narrow the match",
        (
            ("script=GLOB", "Only scripts with such an absolute path."),
            ("host=GLOB", "Only on such a virtual host: its name without a port, in small letters."),
        ),
        "They come first. A request must meet all of them.",
    ),
    Section(
        "Other options",
        (
            ("timeout=TIME", "From the launch to the last byte, in place of --timeout."),
            ("first-byte-timeout=TIME", "Until the response head is complete."),
            ("idle-timeout=TIME", "Longest silence of script and web server."),
            ("max-body=SIZE", "Longest request body."),
            ("max=N", "Requests at once of one user in this context, in place of --concurrent-user."),
            ("memory=SIZE", "Memory of all its processes, without swap; without a cgroup, address space of each one."),
            ("processes=N", "All its processes and threads; without a cgroup, those of its Unix user on the machine."),
            ("cpus=N", "Processors at once, 2 or 0.5, for all its processes; refused without a cgroup."),
            ("cpu=TIME", "Processor time of each process, in whole seconds."),
            ("nice=N", "Niceness of each process, 1 to 19."),
            ("files=N", "Open files of each process."),
            ("file-size=SIZE", "Longest file that a process may write."),
            ("uid=NAME", "Run as this Unix user, never root; selcgi must be able to become it."),
            (
                "warm=yes|no|wsgi[:[MODULE:]NAME]",
                "Run in a fork of a warm Python interpreter: yes as a CGI script, wsgi as the WSGI application NAME of "
                "the script, or of a MODULE that is imported from its folder; NAME is application unless said. What "
                "such a file does when it is loaded is trusted, as a --preload is. no: a fresh program, in spite of "
                "--warm. The domain's name must end in webapp_t.",
            ),
            ("sendfile=yes", "Let X-Accel-Redirect and its kin through: by them the web server reads files for it."),
        ),
        "TIME is 30, 30s, 1.5m or 2h, up to 24h. SIZE is 4096, 64K, 512M or 2G.",
    ),
    Section(
        "Sources",
        (
            ("FILE", "A mapping file. Files that follow one another are as one."),
            ("param:NAME", "A parameter of the web server that holds DOMAIN, DOMAIN:RANGE or deny."),
            ("login:TABLE", "SELinux's own login mapping. TABLE has lines SEUSER CONTEXT [OPTION..]."),
        ),
        "Several --map are asked in their order, and the first that has a rule for the request decides, be it deny. A "
        "parameter counts from a listener with map-param=NAME, for a proven user, and for a domain of --param-domain; "
        "an empty one is no answer, a wrong one is refused. Nor is it an answer when only __default__ of the login "
        "mapping matches, or TABLE has no line for the SELinux user. There the range login-range is the one of the "
        "login mapping, which must be a single level; script= and host= have no place.",
    ),
    Section(
        "Group file",
        (("NAME: USER..", 'Members of @NAME, with blanks between; a name with blanks is written in "quotes".'),),
        "As Apache's AuthGroupFile. Lines and files for one name add up. A # at the start of a line begins a comment.",
    ),
)  # fmt: skip
