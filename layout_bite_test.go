package tillwire_test

import (
	"fmt"
	"strings"
	"testing"
)

// bite is a small house with one thing wrong, or (want "") with nothing wrong
// where a careless rule would complain.
type bite struct {
	name string
	rule string
	path string
	body string
	want string // part of the finding
}

const doc = "// Package %s promises to hold what a test needs and stops there, before anything else.\n"

func goFile(name, rest string) string {
	return fmt.Sprintf(doc+"package %s\n", name, name) + rest
}

func importing(name string, imports ...string) string {
	var b strings.Builder
	for _, i := range imports {
		fmt.Fprintf(&b, "import _ %q\n", i)
	}
	return goFile(name, b.String())
}

func body(lines int) string { return strings.Repeat("\t_ = 0\n", lines) }

var bites = []bite{
	{"upward", "direction", "store/journal/a.go", importing("journal", "tillwire/agent/link"), "stands above it"},
	{"protocol imports store", "direction", "protocol/a.go", importing("protocol", "tillwire/store"), "stands above it"},
	{"room imports assembly", "direction", "agent/link/a.go", importing("link", "tillwire/agent"), "stands above it"},
	{"assembly imports simulator", "direction", "agent/a.go", importing("agent", "tillwire/simulator"), "stands above it"},
	{"pure room imports shell", "direction", "aggregator/merge/a.go", importing("merge", "tillwire/aggregator/ingest"), "stands above it"},
	{"other platform", "direction", "store/journal/a_windows.go", importing("journal", "tillwire/agent"), "stands above it"},
	{"agent meets aggregator", "direction", "agent/link/a.go", importing("link", "tillwire/aggregator/broker"), "on the wire only"},
	{"aggregator's test meets agent", "direction", "aggregator/a_test.go", importing("aggregator", "tillwire/agent"), "on the wire only"},
	{"cmd reaches into a room", "direction", "agent/cmd/tillwire-agent/a.go", importing("main", "tillwire/agent/link"), "its own assembly"},
	{"cmd imported", "direction", "simulator/a.go", importing("simulator", "tillwire/agent/cmd/tillwire-agent"), "nothing imports a program"},
	{"downward", "direction", "agent/link/a.go", importing("link", "tillwire/store/journal", "tillwire/protocol/poslog"), ""},
	{"simulator sees all", "direction", "simulator/a.go", importing("simulator", "tillwire/agent", "tillwire/aggregator/broker"), ""},
	{"cmd and its assembly", "direction", "agent/cmd/tillwire-agent/a.go", importing("main", "tillwire/agent", "tillwire/protocol", "tillwire/store/config"), ""},
	{"conformance test", "direction", "store/ledger/a_test.go", importing("ledger_test", "tillwire/store/ledger/bolt"), ""},

	{"agent rooms", "siblings", "agent/intake/a.go", importing("intake", "tillwire/agent/link"), "its sibling agent/link"},
	{"aggregator rooms", "siblings", "aggregator/api/a.go", importing("api", "tillwire/aggregator/fleet"), "its sibling aggregator/fleet"},
	{"store rooms", "siblings", "store/ledger/a.go", importing("ledger", "tillwire/store/journal"), "its sibling store/journal"},
	{"store cousins", "siblings", "store/ledger/bolt/a.go", importing("bolt", "tillwire/store/outbox"), "its sibling store/outbox"},
	{"parent imports child", "siblings", "store/ledger/a.go", importing("ledger", "tillwire/store/ledger/bolt"), "its own child"},
	{"child imports parent", "siblings", "store/ledger/bolt/a.go", importing("bolt", "tillwire/store/ledger"), ""},
	{"shell folds with pure room", "siblings", "aggregator/ingest/a.go", importing("ingest", "tillwire/aggregator/merge"), ""},
	{"test with the real sibling", "siblings", "aggregator/api/a_test.go", importing("api", "tillwire/aggregator/fleet"), ""},

	{"bbolt in the agent", "owner rooms", "agent/a.go", importing("agent", "go.etcd.io/bbolt"), "it lives in store"},
	{"paho in intake", "owner rooms", "agent/intake/a.go", importing("intake", "github.com/eclipse/paho.mqtt.golang"), "it lives in agent/link"},
	{"mochi's child in ingest", "owner rooms", "aggregator/ingest/a.go", importing("ingest", "github.com/mochi-mqtt/server/v2/packets"), "it lives in aggregator/broker"},
	{"kardianos in the agent", "owner rooms", "agent/a_windows.go", importing("agent", "github.com/kardianos/service"), "it lives in agent/cmd"},
	{"zstd in the journal", "owner rooms", "store/journal/a.go", importing("journal", "github.com/klauspost/compress/zstd"), "it lives in protocol"},
	{"logs in protocol", "owner rooms", "protocol/a.go", importing("protocol", "github.com/rs/zerolog"), "in pure code"},
	{"logs in merge", "owner rooms", "aggregator/merge/a.go", importing("merge", "github.com/rs/zerolog"), "in pure code"},
	{"bbolt in a core", "owner rooms", "store/journal/a_core.go", importing("journal", "go.etcd.io/bbolt"), "in pure code"},
	{"encoding in a core", "owner rooms", "protocol/a.go", importing("protocol", "google.golang.org/protobuf/encoding/protowire"), ""},
	{"toml in the store", "owner rooms", "store/a.go", importing("store", "github.com/pelletier/go-toml/v2"), "it lives in store/config"},
	{"stranger", "owner rooms", "agent/a.go", importing("agent", "github.com/some/library"), "has no owner room"},
	{"longer name of a stranger", "owner rooms", "store/a.go", importing("store", "go.etcd.io/bboltish"), "has no owner room"},
	{"at home", "owner rooms", "store/ledger/bolt/a.go", importing("bolt", "go.etcd.io/bbolt", "go.etcd.io/bbolt/errors", "os"), ""},
	{"simulator measures", "owner rooms", "simulator/yardstick/a.go", importing("yardstick", "go.etcd.io/bbolt", "github.com/redis/go-redis/v9"), ""},
	{"tests look from outside", "owner rooms", "agent/link/a_test.go", importing("link", "github.com/mochi-mqtt/server/v2"), ""},

	{"a second module", "modules", "agent/go.mod", "module other\n", "a module inside"},
	{"a peer that knows us", "modules", "simulator/peers/a.go", importing("main", "tillwire/protocol"), "knows nothing of us"},
	{"a peer imported", "modules", "simulator/a.go", importing("simulator", "tillwire/simulator/peers"), "imports tillwire/simulator/peers"},
	{"a peer's module", "modules", "simulator/peers/go.mod", "module tillwire/simulator/peers\n\nrequire github.com/some/library v1.0.0\n", ""},
	{"a peer's library", "modules", "simulator/peers/a.go", importing("main", "github.com/some/library"), ""},

	{"files", "pure imports", "protocol/a.go", importing("protocol", "os"), "imports os"},
	{"network", "pure imports", "protocol/poslog/a.go", importing("poslog", "net/http"), "imports net/http"},
	{"atomics", "pure imports", "aggregator/merge/a.go", importing("merge", "sync/atomic"), "imports sync/atomic"},
	{"dice", "pure imports", "agent/link/sender_core.go", importing("link", "math/rand/v2"), "imports math/rand/v2"},
	{"context", "pure imports", "store/journal/plan_core.go", importing("journal", "context"), "imports context"},
	{"arithmetic", "pure imports", "protocol/a.go", importing("protocol", "math", "time", "io", "hash/crc32"), ""},
	{"a shell may", "pure imports", "agent/link/sender.go", importing("link", "os", "net", "context"), ""},
	{"a test may", "pure imports", "protocol/a_test.go", importing("protocol", "os", "sync"), ""},

	{"clock", "pure statements", "protocol/a.go", goFile("protocol", "import \"time\"\nvar x = time.Now()\n"), "time.Now"},
	{"clock as a value", "pure statements", "protocol/a.go", goFile("protocol", "import \"time\"\nvar x = time.Since\n"), "time.Since"},
	{"clock by another name", "pure statements", "agent/link/a_core.go", goFile("link", "import t \"time\"\nvar x = t.NewTimer\n"), "time.NewTimer"},
	{"clock without a name", "pure statements", "protocol/a.go", goFile("protocol", "import . \"time\"\nvar x = Now()\n"), "dot import"},
	{"goroutine", "pure statements", "aggregator/merge/a.go", goFile("merge", "func f() { go f() }\n"), "go statement"},
	{"channel", "pure statements", "aggregator/merge/a.go", goFile("merge", "type t struct{ c chan int }\n"), "channel type"},
	{"receive", "pure statements", "aggregator/merge/a.go", goFile("merge", "func f(c C) { <-c }\n"), "channel receive"},
	{"send", "pure statements", "aggregator/merge/a.go", goFile("merge", "func f(c C) { c <- 1 }\n"), "channel send"},
	{"select", "pure statements", "store/journal/a_core.go", goFile("journal", "func f() { select {} }\n"), "select statement"},
	{"durations", "pure statements", "protocol/a.go", goFile("protocol", "import \"time\"\nvar x = 3 * time.Second\nvar y = time.UnixMicro(1)\n"), ""},
	{"a shell's clock", "pure statements", "agent/link/a.go", goFile("link", "import \"time\"\nvar x = time.Now\nfunc f() { go f() }\n"), ""},

	{"silent package", "package comment", "agent/link/a.go", "package link\n", "has no comment"},
	{"other opening", "package comment", "agent/link/a.go", "// The link does a great many things that nobody could list here at all.\npackage link\n", "does not begin with"},
	{"curt", "package comment", "agent/link/a.go", "// Package link links.\npackage link\n", "says too little"},
	{"detached", "package comment", "agent/link/a.go", strings.ReplaceAll(goFile("link", ""), "\npackage", "\n\npackage"), "has no comment"},
	{"program", "package comment", "agent/cmd/tillwire-agent/main.go", "// The agent of one shop: it runs, installs and repairs itself, and answers questions.\npackage main\n", ""},

	{"long file", "file length", "agent/a.go", goFile("agent", strings.Repeat("\n", 599)), "a file ends at 600"},
	{"full file", "file length", "agent/a.go", goFile("agent", strings.Repeat("\n", 598)), ""},
	{"generated file", "file length", "agent/a.go", "// Code generated by x. DO NOT EDIT.\n\n" + goFile("agent", strings.Repeat("\n", 700)), ""},

	{"long function", "function length", "agent/a.go", goFile("agent", "func f() {\n"+body(71)+"}\n"), "func f has 71 lines"},
	{"long method", "function length", "agent/a.go", goFile("agent", "func (t T) g() {\n"+body(71)+"}\n"), "func g has 71 lines"},
	{"long literal", "function length", "agent/a.go", goFile("agent", "var f = func() {\n"+body(71)+"}\n"), "func literal has 71 lines"},
	{"full function", "function length", "agent/a.go", goFile("agent", "func f() {\n"+body(70)+"}\n"), ""},
	{"table of cases", "function length", "agent/a_test.go", goFile("agent", "func f() {\n"+body(150)+"}\n"), ""},
	{"endless test", "function length", "agent/a_test.go", goFile("agent", "func f() {\n"+body(151)+"}\n"), "a function ends at 150"},

	{"folder", "names", "agent/util/a.go", goFile("clock", ""), `"util"`},
	{"package", "names", "agent/clock/a.go", goFile("types", ""), `"types"`},
	{"upper folder", "names", "agent/internal/clock/a.go", goFile("clock", ""), `"internal"`},
	{"telling name", "names", "agent/utilisation/a.go", goFile("utilisation", ""), ""},

	{"new folder", "top level", "scripts/build.sh", "exit 0\n", "scripts/ is not a room"},
	{"code at the top", "top level", "main.go", goFile("main", ""), "does not stand at the top"},
	{"known folder", "top level", "deploy/compose.yaml", "services: {}\n", ""},
	{"known file", "top level", "README.md", "Tillwire\n", ""},

	{"home", "paths of one machine", "README.md", "see /" + "home/ada/notes\n", "one machine only"},
	{"workplace", "paths of one machine", "agent/a.go", goFile("agent", "const p = \"/"+"workspace/x\"\n"), "one machine only"},
	{"file URL", "paths of one machine", "README.md", "file:///" + "Users/ada/x\n", "one machine only"},
	{"Windows home", "paths of one machine", "deploy/a.md", `C:\` + `Users\ada\x`, "one machine only"},
	{"URL", "paths of one machine", "README.md", "https://shop.example/home/x and ../workspace/x and ~/home/x\n", ""},
	{"system path", "paths of one machine", "deploy/a.service", "ExecStart=/usr/bin/tillwire-agent\nReadWritePaths=/var/lib/tillwire\n", ""},
	{"binary", "paths of one machine", "protocol/testdata/a.bin", "\x00 /" + "home/ada/x", ""},
}

func TestLayoutBites(t *testing.T) {
	bitten := map[string]bool{}
	for _, b := range bites {
		t.Run(b.rule+"/"+b.name, func(t *testing.T) {
			house := &tree{}
			if err := house.add(b.path, []byte(b.body)); err != nil {
				t.Fatalf("the case does not parse: %v", err)
			}
			found := ruleNamed(t, b.rule).check(house)
			switch {
			case b.want == "" && len(found) > 0:
				t.Errorf("sound code is refused: %+v", found)
			case b.want != "" && len(found) != 1:
				t.Errorf("found %d places, want 1: %+v", len(found), found)
			case b.want != "" && !strings.Contains(found[0].what, b.want):
				t.Errorf("found %q, want something with %q", found[0].what, b.want)
			case b.want != "" && found[0].path != b.path:
				t.Errorf("found in %s, want %s", found[0].path, b.path)
			}
		})
		bitten[b.rule] = bitten[b.rule] || b.want != ""
	}
	for _, r := range rules {
		if !bitten[r.name] {
			t.Errorf("no case shows that rule %q bites", r.name)
		}
	}
}

// TestLayoutPointsAtTheLine holds the promise that a finding can be clicked.
func TestLayoutPointsAtTheLine(t *testing.T) {
	house := &tree{}
	if err := house.add("protocol/a.go", []byte(goFile("protocol", "\nimport \"os\"\n\nfunc f() {\n\tgo f()\n}\n"))); err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]int{"pure imports": 4, "pure statements": 7} {
		found := ruleNamed(t, name).check(house)
		if len(found) != 1 || found[0].line != line {
			t.Errorf("%s: found %+v, want one at line %d", name, found, line)
		}
	}
}

func ruleNamed(t *testing.T, name string) rule {
	t.Helper()
	for _, r := range rules {
		if r.name == name {
			return r
		}
	}
	t.Fatalf("no rule is called %q", name)
	return rule{}
}

// What a peer is built of stays out of the product: out of its imports, and out of
// its go.mod, where even a forgotten line would be fetched by everybody.
func TestLayoutKeepsPeersApart(t *testing.T) {
	for _, c := range []struct{ name, gomod, imported, want string }{
		{"required by both", "require github.com/some/library v1.2.0\n", "fmt", "is required by the product"},
		{"imported by the simulator", "", "github.com/some/library/part", "imports github.com/some/library/part"},
		{"apart", "require (\n\tgithub.com/its/own v0.1.0 // indirect\n)\n", "github.com/its/own", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			house := &tree{}
			for path, text := range map[string]string{
				"go.mod":                 "module tillwire\n\n" + c.gomod,
				"simulator/peers/go.mod": "module tillwire/simulator/peers\n\nrequire (\n\tgithub.com/some/library v1.0.0\n)\n\nrequire (\n\tgithub.com/its/own v0.1.0 // indirect\n)\n",
				"simulator/peers/a.go":   importing("main", "github.com/some/library"),
				"simulator/a.go":         importing("simulator", c.imported),
			} {
				if err := house.add(path, []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, f := range modules(house) {
				got = append(got, f.what)
			}
			if all := strings.Join(got, "; "); (c.want == "") != (all == "") || !strings.Contains(all, c.want) {
				t.Errorf("found %q, want %q", all, c.want)
			}
		})
	}
}
