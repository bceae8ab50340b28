package main

import (
	"fmt"
	"strings"
)

// A completion is a walk: the words typed so far lead to a node of the tree of
// commands, and the node knows which words and flags may follow. The shells differ
// only in how they write this down.
type node struct {
	path  string // the words that lead here
	words []choice
	flags []choice
	files []string // flags that take a file or folder
}

type choice struct{ word, help string }

// nodes are the tree, the root first.
func (m *manual) nodes() []*node {
	root := &node{}
	all := []*node{root}
	find := func(path string) *node {
		for _, n := range all {
			if n.path == path {
				return n
			}
		}
		return nil
	}
	for _, c := range m.Commands {
		at := root
		words := strings.Fields(c.Name)
		for i, w := range words {
			path := strings.Join(words[:i+1], " ")
			next := find(path)
			if next == nil {
				help := c.Help
				if i < len(words)-1 {
					help = "commands about " + path
				}
				at.words = append(at.words, choice{w, help})
				next = &node{path: path}
				all = append(all, next)
			}
			at = next
		}
		for _, f := range c.flags {
			at.flags = append(at.flags, choice{"--" + f.name, f.help})
			if f.value == "file" || f.value == "folder" || f.value == "path" || f.value == "dir" {
				at.files = append(at.files, "--"+f.name)
			}
		}
	}
	root.words = append(root.words, choice{"help", "list the commands, or explain one"})
	return all
}

func ident(program string) string { return strings.ReplaceAll(program, "-", "_") }

func list(choices ...[]choice) string {
	var words []string
	for _, cs := range choices {
		for _, c := range cs {
			words = append(words, c.word)
		}
	}
	return strings.Join(words, " ")
}

// paths are the nodes below the root, as patterns of case: 'store'|'store desired'.
func paths(all []*node) string {
	var quoted []string
	for _, n := range all[1:] {
		quoted = append(quoted, "'"+n.path+"'")
	}
	return strings.Join(quoted, "|")
}

func (m *manual) bash() string {
	var b strings.Builder
	all := m.nodes()
	fmt.Fprintf(&b, `# bash completion for %[1]s; made of its own help.
_%[2]s() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} path='' next word words='' files=''
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		next=${path:+$path }$word
		case $next in %[3]s) path=$next ;; esac
	done
	case $path in
`, m.Program, ident(m.Program), paths(all))
	for _, n := range all {
		fmt.Fprintf(&b, "	'%s') words='%s' files=' %s ' ;;\n", n.path, list(n.words, n.flags), strings.Join(n.files, " "))
	}
	fmt.Fprintf(&b, `	esac
	if [[ $files == *" $prev "* ]]; then
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o default -F _%[2]s %[1]s
`, m.Program, ident(m.Program))
	return b.String()
}

// single quotes a text for sh, zsh and fish.
func single(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (m *manual) zsh() string {
	var b strings.Builder
	all := m.nodes()
	fmt.Fprintf(&b, `#compdef %[1]s
# zsh completion for %[1]s; made of its own help.
_%[2]s() {
	local dir='' next word
	local -a choices
	for word in "${(@)words[2,CURRENT-1]}"; do
		next=${dir:+$dir }$word
		case $next in %[3]s) dir=$next ;; esac
	done
	case $dir in
`, m.Program, ident(m.Program), paths(all))
	for _, n := range all {
		fmt.Fprintf(&b, "	'%s')\n", n.path)
		if len(n.files) > 0 {
			fmt.Fprintf(&b, "		case $words[CURRENT-1] in %s) _files; return ;; esac\n", strings.Join(n.files, "|"))
		}
		b.WriteString("		choices=(")
		for _, c := range append(append([]choice{}, n.words...), n.flags...) {
			fmt.Fprintf(&b, "\n			%s", single(c.word+":"+strings.ReplaceAll(c.help, ":", `\:`)))
		}
		b.WriteString(") ;;\n")
	}
	fmt.Fprintf(&b, `	esac
	_describe -t commands %[1]s choices || _files
}
if [ "$funcstack[1]" = _%[1]s ]; then _%[2]s "$@"; else compdef _%[2]s %[1]s; fi
`, m.Program, ident(m.Program))
	return b.String()
}

func (m *manual) fish() string {
	var b strings.Builder
	all := m.nodes()
	fmt.Fprintf(&b, `# fish completion for %[1]s; made of its own help.
function __%[2]s_at
    set -l at ''
    for word in (commandline -opc)[2..]
        set -l next (string trim -- "$at $word")
        contains -- $next %[3]s; and set at $next
    end
    test "$at" = "$argv[1]"
end
complete -c %[1]s -f
`, m.Program, ident(m.Program), strings.ReplaceAll(paths(all), "|", " "))
	for _, n := range all {
		when := single(fmt.Sprintf(`__%s_at "%s"`, ident(m.Program), n.path))
		for _, c := range n.words {
			fmt.Fprintf(&b, "complete -c %s -n %s -a %s -d %s\n", m.Program, when, c.word, single(c.help))
		}
		for _, c := range n.flags {
			file := ""
			for _, f := range n.files {
				if f == c.word {
					file = " -rF"
				}
			}
			fmt.Fprintf(&b, "complete -c %s -n %s -l %s%s -d %s\n", m.Program, when, strings.TrimPrefix(c.word, "--"), file, single(c.help))
		}
	}
	return b.String()
}

func (m *manual) powershell() string {
	var b strings.Builder
	double := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	all := m.nodes()
	fmt.Fprintf(&b, `# PowerShell completion for %[1]s; made of its own help. Load it from $PROFILE.
Register-ArgumentCompleter -Native -CommandName '%[1]s', '%[1]s.exe' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $tree = @{
`, m.Program)
	for _, n := range all {
		fmt.Fprintf(&b, "        %s = @(\n", double(n.path))
		for _, c := range append(append([]choice{}, n.words...), n.flags...) {
			help := c.help
			if help == "" {
				help = c.word // an empty tip is refused
			}
			fmt.Fprintf(&b, "            , @(%s, %s)\n", double(c.word), double(help))
		}
		b.WriteString("        )\n")
	}
	b.WriteString(`    }
    $at = ''
    foreach ($word in $commandAst.CommandElements | Select-Object -Skip 1) {
        if ($word.Extent.EndOffset -ge $cursorPosition -and $wordToComplete) { break }
        $next = ($at + ' ' + $word.ToString()).Trim()
        if ($tree.ContainsKey($next)) { $at = $next }
    }
    $tree[$at] | Where-Object { $_[0] -like "$wordToComplete*" } | ForEach-Object {
        [System.Management.Automation.CompletionResult]::new($_[0], $_[0], 'ParameterValue', $_[1])
    }
}
`)
	return b.String()
}
