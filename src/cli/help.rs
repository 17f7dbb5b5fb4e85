//! What `--help` says below the options: what happens, examples to copy, exit statuses.

pub(crate) const TOP: &str = "\
Start here:
  ringway demo                          three upstreams and live figures, nothing else needed
  ringway run --listen 127.0.0.1:8080 --upstream 127.0.0.1:9001
  ringway check ringway.kdl && ringway run ringway.kdl

Exit status: 0 good; 1 it could not be done, or warnings under --strict; 2 the command line or the
configuration is wrong; 101 a worker stopped on an internal error.

`ringway COMMAND --help` explains a command with examples.";

pub(crate) const RUN_USAGE: &str = "\
ringway run CONFIG
       ringway run --listen ADDR --upstream ADDR [--upstream ADDR …] [--admin ADDR]
       ringway run --tcp ADDR --upstream ADDR [--upstream ADDR …]";
pub(crate) const RUN_SHORT: &str =
    "`ringway run --help` shows examples, signals and what is printed at the start.";
pub(crate) const RUN: &str = "\
Examples:
  ringway run /etc/ringway/ringway.kdl
  ringway run --listen 127.0.0.1:8080 --upstream 127.0.0.1:9001 --upstream 127.0.0.1:9002
  ringway run --tcp 0.0.0.0:5432 --upstream 10.0.0.11:5432 --upstream 10.0.0.12:5432
  ringway run /etc/ringway/ringway.kdl --watch
  ringway run --listen unix:/run/web.sock --upstream 10.0.0.7:80 --admin 127.0.0.1:9901 --io epoll

Standard error says where it listens, one line per address; port 0 is replaced by the real one:
  listening on 127.0.0.1:8080 (listener \"web\")
  admin on 127.0.0.1:9901

Signals:
  SIGTERM, SIGINT   stop gracefully: /ready answers 503, nothing new is accepted, what was accepted
                    is finished within 30 seconds; a second one ends at once with status 1.
                    With --drain-pause listening ends only after the pause
  SIGHUP            read CONFIG again, as `ringway reload` does; the outcome is on standard error
  SIGUSR1           reopen log files, after they were moved away

Workers: one per CPU of the affinity mask, fewer under a CPU quota of the control group. With one
worker per CPU each is pinned to its own.
Descriptors: clients get at most 45 % of the soft limit (`ulimit -n`); `ringway status` shows it.";

pub(crate) const DEMO_SHORT: &str = "`ringway demo --help` shows examples and what to try.";
pub(crate) const DEMO: &str = "\
Starts three small upstreams that answer after 1, 20 and 100 ms, and Ringway before them, all on free
loopback ports of this process. It prints what to try with curl and one line of figures a second.
Nothing is written, nothing else is needed; Ctrl-C ends it.

Examples:
  ringway demo
  ringway demo --load                   with 8 connections that send requests
  ringway demo --load 32 --seconds 10   for ten seconds
  ringway demo --print-config           the configuration that it runs, to start from";

pub(crate) const PROVE: &str = "\
Examples:
  ringway prove ringway.kdl
  ringway prove --strict ringway.kdl    for a pipeline: fails when a route is open

A site that says `require-authentication` does not load with such a route.

Exit status: 0; 1 with --strict when there is one; 2 when the configuration is wrong.";

pub(crate) const CHECK_SHORT: &str = "`ringway check --help` shows examples and exit statuses.";
pub(crate) const CHECK: &str = "\
Reads the file and what it includes, and nothing else: no DNS, no sockets, no writes, no root. What it
accepts loads; what it refuses is refused in the same words by `ringway run`. All problems are shown at
once, in the order of the text.

Examples:
  ringway check ringway.kdl
  ringway check --strict ringway.kdl    for a pipeline: warnings count too
  ringway check --json ringway.kdl      {\"valid\":false,\"errors\":1,\"warnings\":0,\"problems\":[…]}

Exit status: 0 good; 1 warnings only, with --strict; 2 errors.";

pub(crate) const CONFIG: &str = "\
Examples:
  ringway config to-json ringway.kdl > ringway.json    the same configuration for machines
  ringway config show --effective ringway.kdl          every value, and the line or default it is from
  ringway config schema > ringway.schema.json          for editors and validators of the JSON form
  ringway config fmt --check ringway.kdl               for a pipeline

Values that came from (env) or (file) are shown as these references, never as the secret itself.";

pub(crate) const TO_JSON: &str = "\
Examples:
  ringway config to-json ringway.kdl > ringway.json
  ringway config to-json ringway.kdl | jq '.upstreams[].name'

The JSON holds every default and loads as the same configuration.";

pub(crate) const SHOW: &str = "\
Examples:
  ringway config show --effective ringway.kdl
  ringway config show --effective ringway.kdl | grep timeouts
  ringway config show --effective --json ringway.kdl";

pub(crate) const SCHEMA: &str = "\
Examples:
  ringway config schema > ringway.schema.json";

pub(crate) const FMT: &str = "\
Examples:
  ringway config fmt ringway.kdl            prints it
  ringway config fmt --write ringway.kdl    changes it, at once or not at all
  ringway config fmt --check ringway.kdl    for a pipeline";

pub(crate) const STATUS_SHORT: &str = "`ringway status --help` shows examples.";
pub(crate) const STATUS: &str = "\
Asks the admin API, which the configuration switches on with `admin { bind \"127.0.0.1:9901\" }`.

Examples:
  ringway status                              at 127.0.0.1:9901
  ringway status --admin unix:/run/ringway/admin.sock
  ringway status --config /etc/ringway/ringway.kdl
  ringway status --json | jq .upstreams       {\"status\":…,\"upstreams\":…}

Exit status: 0 when it answered; 1 when it did not.";

pub(crate) const EXPLAIN_SHORT: &str = "`ringway explain --help` shows examples.";
pub(crate) const EXPLAIN: &str = "\
Asks the code that serves requests what it would do with this one: which listener, which route, what
the routes before it lacked, what filters change, which timeouts and retries are in force and which
line says so, which upstream, how its endpoints are, which of them is chosen, or what Ringway answers
by itself. Nothing is sent. (An upstream that balances in turns loses one turn.)

Examples:
  ringway explain GET http://shop.example.com/api/v2/x -H 'X-Beta: 1' --from 203.0.113.9
  ringway explain GET http://shop.example.com/ --config new.kdl     a file; nobody has to run
  ringway explain POST /upload -H 'Host: a.example' -H 'Content-Length: 99999999'
  ringway explain GET / --json | jq .outcome

Exit status: 0 when it was explained, whatever becomes of the request; 1 when the running one could
not be asked; 2 when the question or the configuration is wrong.";

pub(crate) const DOCTOR_SHORT: &str = "`ringway doctor --help` shows examples and exit statuses.";
pub(crate) const DOCTOR: &str = "\
Reads /proc and /sys, and with a configuration connects to every endpoint once: by the check of its
upstream, else by TCP or a TLS handshake. Nothing is changed. Each finding comes with what to do.

Examples:
  ringway doctor                            this host
  ringway doctor /etc/ringway/ringway.kdl   and the endpoints of a configuration
  ringway doctor --json ringway.kdl | jq '.findings[] | select(.level != \"good\")'

Run it as the user and with the limits that Ringway has: `systemd-run`, or in the container.

Exit status: 0 nothing bad; 1 something bad, or with --strict something that could be better; 2 the
configuration does not load.";

pub(crate) const WATCH_SHORT: &str = "`ringway top --help` shows examples and keys.";
pub(crate) const WATCH: &str = "\
Asks the admin API every second and shows rates, latencies by phase, workers, endpoints, routes and the
latest failures.

Keys: q or Ctrl-C quit; s sort by rate, latency, failures or name; f filter by name; up and down mark an
endpoint; d drain it and r make it ready again, after a question.

Examples:
  ringway top
  ringway top --admin unix:/run/ringway/admin.sock --interval 500
  ringway top --once                    one frame, for scripts

Exit status: 0 in the end; 1 when the running one could not be asked, or there is no terminal.";

pub(crate) const WHY_SHORT: &str = "`ringway why --help` shows examples and what is remembered.";
pub(crate) const WHY: &str = "\
Each worker remembers its latest decisions: all requests that failed or were repeated, and a sample of
the others. `decisions { memory \"256KiB\"; sample \"1%\" }` says how much; query strings are not kept.

Examples:
  ringway why 6f1c2b0d9a8e7f605142434445464748      one request, from listener to cause
  ringway why --recent                              the newest twenty
  ringway why --recent --cause connect_refused --limit 100
  ringway why --recent --status 504 --upstream api
  ringway why --recent --json | jq -r '.requests[] | [.id, .cause.name] | @tsv'

Exit status: 0 when something is known; 1 when nothing is or the running one could not be asked.";

pub(crate) const PLAN_SHORT: &str = "`ringway plan --help` shows examples and what the words mean.";
pub(crate) const PLAN: &str = "\
Compares two configurations object by object, by name: moving things about in the file is no change.
Nothing is changed and nothing is opened; the running process is only asked what it runs.

Examples:
  ringway plan new.kdl                        against what runs at 127.0.0.1:9901
  ringway plan new.kdl --admin unix:/run/ringway/admin.sock
  ringway plan new.kdl --against old.kdl      two files, nobody has to run
  ringway plan new.kdl --json | jq '.changes[] | select(.effect == \"at-restart\")'

Each change says what it means: with the next request (of every connection); for new connections;
drains (nothing new goes there, what is under way finishes); takes effect at restart.

Exit status: 0 when the new configuration is good, whatever it changes; 1 when the running one could
not be asked; 2 when it is wrong, with the problems of `ringway check`.";

pub(crate) const RELOAD_SHORT: &str = "`ringway reload --help` shows examples and exit statuses.";
pub(crate) const RELOAD: &str = "\
The running process reads the file that it was started with, compiles it beside the configuration in
force and takes it over with the next request of every connection. Nothing that did not change is
touched. With any error the one in force stays; the problems are those of `ringway check`.

Examples:
  ringway reload                              at 127.0.0.1:9901
  ringway reload --dry-run                    what would change, and when it would count
  ringway reload --confirm 60s                back to the one before, unless `ringway confirm` comes
  ringway reload --admin unix:/run/ringway/admin.sock
  ringway reload --config /etc/ringway/ringway.kdl --json

Exit status: 0 when it is in force; 1 when it could not be done; 2 when the configuration is wrong.";

pub(crate) const DRAIN_SHORT: &str = "`ringway drain --help` shows examples and exit statuses.";
pub(crate) const DRAIN: &str = "\
The running process answers 503 at /ready at once. After the pause it accepts nothing new, ends every
connection with its next response (`Connection: close`, GOAWAY on HTTP/2), and ends itself when nothing
is under way any more, or 30 s after the pause.

Examples:
  ringway drain                               at 127.0.0.1:9901, without a pause
  ringway drain --pause 5s                    so that load balancers in front notice first
  ringway drain --undo                        while the pause lasts: go on serving
  ringway drain --admin unix:/run/ringway/admin.sock

Exit status: 0 when it drains (or goes on, with --undo); 1 when it could not be asked or cannot do it.";

pub(crate) const APPLY_SHORT: &str = "`ringway apply --help` shows examples and exit statuses.";
pub(crate) const APPLY: &str = "\
Sends the text of the file to the admin API, which puts it into force like a reload. It may not
include files or take values from files or variables: the running process must not read what others
name. With --confirm the configuration before comes back unless `ringway confirm` is run in time, so
that a change that locks you out undoes itself.

Examples:
  ringway plan new.kdl && ringway apply --confirm 60s new.kdl
  ringway apply new.json --admin unix:/run/ringway/admin.sock

The next reload goes back to the file that the process was started with, and so does a restart.

Exit status: 0 when it is in force; 1 when it could not be done; 2 when the configuration is wrong.";

pub(crate) const CONFIRM: &str = "\
Examples:
  ringway confirm
  ringway confirm --admin unix:/run/ringway/admin.sock

Exit status: 0 when it is confirmed; 1 when nothing waits to be.";

pub(crate) const ROLLBACK: &str = "\
The last ten configurations that were in force are kept in memory, until the process ends.

Examples:
  ringway rollback              to the one before
  ringway rollback 6f1c2b0d     to the one whose hash begins like this; see `ringway history`

Exit status: 0 when it is in force; 1 when it could not be done.";

pub(crate) const HISTORY: &str = "\
Examples:
  ringway history
  ringway history --json | jq -r '.earlier[].hash'";

pub(crate) const KEYS: &str = "\
Examples:
  ringway keys create secrets/partners.kdl --consumer acme --scope orders:read
  ringway keys list secrets/partners.kdl
  ringway keys revoke secrets/partners.kdl 1f0a93c2

The file has hashes only; a key is shown once, when it is made. A running Ringway sees changes at its
next reload. To replace a key without a gap, make the new one, hand it out, then revoke the old one.";

pub(crate) const ENDPOINT: &str = "\
Examples:
  ringway endpoint set api 10.0.0.1:3001 --state drain    no new requests; what runs there finishes
  ringway endpoint set api 10.0.0.1:3001 --state ready    as before

A restart forgets what was set here; the configuration does not change.";

pub(crate) const ENDPOINT_SET: &str = "\
Sends the change to the admin API and waits until it is in force on every worker's next turn.

Examples:
  ringway endpoint set api 10.0.0.1:3001 --state drain
  ringway endpoint set api 10.0.0.1:3001 --state down --admin unix:/run/ringway/admin.sock
  ringway endpoint set api 10.0.0.1:3001 --state ready --weight 2
  ringway endpoint set api 10.0.0.1:3001 --weight configured

States: ready, as usual; drain, no new requests but those of clients that stick to the endpoint; down,
none at all. Requests that are under way finish in any case. Health checks go on.
A restart forgets what was set here; the configuration does not change.

Exit status: 0 when it is in force; 1 when it could not be done.";

pub(crate) const VERSION: &str = "\
Examples:
  ringway version
  ringway version --json";
