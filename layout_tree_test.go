package tillwire_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree is what the rules look at: every Go source, and every file that is (or
// is about to be) under version control.
type tree struct {
	sources []*source
	tracked []blob
}

// source is one parsed Go file. path is relative to the root, with slashes.
type source struct {
	path  string
	dir   string
	test  bool
	lines int
	fset  *token.FileSet
	file  *ast.File
}

func (s *source) line(n ast.Node) int { return s.fset.Position(n.Pos()).Line }

// importedAs is the name by which the file knows a package; "" if it does not.
func (s *source) importedAs(imported string) string {
	for _, spec := range s.file.Imports {
		switch {
		case spec.Path.Value != `"`+imported+`"`:
		case spec.Name != nil:
			return spec.Name.Name
		default:
			return path.Base(imported)
		}
	}
	return ""
}

// blob is one file of any kind, read when asked.
type blob struct {
	path string
	read func() ([]byte, error)
}

// text is the blob's content unless it is binary or gone.
func (b blob) text() ([]byte, bool) {
	content, err := b.read()
	if err != nil || bytes.IndexByte(content[:min(len(content), 8000)], 0) >= 0 {
		return nil, false
	}
	return content, true
}

func parseSource(name string, content []byte) (*source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &source{
		path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
		lines: bytes.Count(content, []byte("\n")), fset: fset, file: file,
	}, nil
}

// add puts one file into the tree, as a Go source too where it is one.
func (house *tree) add(name string, content []byte) error {
	house.tracked = append(house.tracked, blob{name, func() ([]byte, error) { return content, nil }})
	if path.Ext(name) != ".go" {
		return nil
	}
	s, err := parseSource(name, content)
	if err != nil {
		return err
	}
	house.sources = append(house.sources, s)
	return nil
}

// readTree reads the repository that this test stands in. Sources come from
// disk whether git knows them or not; without git, so does the rest.
func readTree(t *testing.T) *tree {
	t.Helper()
	house := &tree{}
	names := walk(t)
	for _, name := range names {
		if path.Ext(name) != ".go" || slices.Contains(strings.Split(name, "/"), "testdata") {
			continue
		}
		content, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Fatalf("read source: %v", err)
		}
		s, err := parseSource(name, content)
		if err != nil {
			t.Errorf("parse source: %v", err)
			continue
		}
		house.sources = append(house.sources, s)
	}
	if len(house.sources) < 5 {
		t.Fatalf("found %d Go files: not the root of the repository?", len(house.sources))
	}
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err == nil && len(out) > 0 {
		names = strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	} else {
		t.Logf("git does not list this tree (%v): looking at all files", err)
	}
	for _, name := range names {
		house.tracked = append(house.tracked, blob{name, func() ([]byte, error) {
			return os.ReadFile(filepath.FromSlash(name))
		}})
	}
	return house
}

// builtFolders are made by make and by programs; .gitignore names them too.
var builtFolders = []string{".git", ".bin", ".data", "bin", "dist"}

func walk(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(builtFolders, name):
			return filepath.SkipDir
		case d.Type().IsRegular():
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("walk repository: %v", err)
	}
	return names
}
