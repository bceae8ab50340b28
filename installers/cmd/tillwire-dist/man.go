package main

import (
	"fmt"
	"strings"
	"time"
)

// roff keeps a text from being read as requests to the formatter.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", `\&...`, "→", `\(->`, "\n", " ").Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

// page is the program's manual page, section 1.
func (m *manual) page(version string, at time.Time) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say(".TH %s 1 %s \"Tillwire %s\" \"Tillwire\"", strings.ToUpper(m.Program), at.Format(time.DateOnly), roff(version))
	say(".SH NAME\n%s \\- %s", roff(m.Program), roff(m.About))
	say(".SH SYNOPSIS\n.B %s\n.I command\n[flags]", roff(m.Program))
	say(".SH COMMANDS")
	for _, c := range m.Commands {
		say(".SS %s", roff(m.Program+" "+c.Name))
		say("%s.", roff(strings.ToUpper(c.Help[:1])+strings.TrimSuffix(c.Help[1:], ".")))
		if c.Args != "" {
			say(".PP\nUsage:\n.B %s\n%s", roff(m.Program+" "+c.Name), roff(c.Args))
		}
		for _, f := range c.flags {
			say(".TP\n.B %s%s\n%s", roff("--"+f.name), argument(f), roff(f.help))
		}
		if c.Example != "" {
			say(".PP\nExample:\n.PP\n.nf\n.RS\n%s\n.RE\n.fi", roff(c.Example))
		}
	}
	if len(m.keys) > 0 {
		say(".SH CONFIGURATION\nKeys of\n.I %s\n(TOML), each also a variable of the environment, which stands over the file; flags stand over both.", roff(m.Config))
		for _, k := range m.keys {
			say(".TP\n.B %s\n%s. Variable\n.BR %s ;", roff(k.name), roff(k.help), roff(k.env))
			if k.initial == "" || k.initial == "[]" {
				say("empty by default.")
			} else {
				say("default %s.", roff(k.initial))
			}
		}
		say(".SH FILES\n.TP\n.I %s\nThe configuration.", roff(m.Config))
	}
	say(".SH EXIT STATUS\n.TP\n.B 0\nDone.\n.TP\n.B 1\nFailed.\n.TP\n.B 2\nUsage or configuration.\n.TP\n.B 3\nNot ready: no program runs, or it cannot take writes yet.")
	say(".SH SEE ALSO\n%s", strings.Join(m.others(), ",\n"))
	return b.String()
}

func argument(f manualFlag) string {
	if f.value == "" {
		return ""
	}
	return ` \fI` + roff(f.value) + `\fR`
}

func (m *manual) others() (refs []string) {
	for _, p := range programs {
		if name := "tillwire-" + p; name != m.Program {
			refs = append(refs, roff(name)+"(1)")
		}
	}
	return refs
}
