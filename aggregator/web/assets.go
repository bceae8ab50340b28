package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// assets are the static files, compressed once at start, named by content:
// /static/app.css?v=3f2a… may be kept for ever, and never is when it changes.
type assets struct{ files map[string]*asset }

type asset struct {
	kind      string
	etag      string
	raw, gzip []byte
}

var kinds = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	".woff2": "font/woff2", ".txt": "text/plain; charset=utf-8",
}

func loadAssets() (*assets, error) {
	a := &assets{files: map[string]*asset{}}
	err := fs.WalkDir(staticFiles, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		kind, ok := kinds[path.Ext(name)]
		if !ok {
			return nil
		}
		raw, err := staticFiles.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		sum := sha256.Sum256(raw)
		f := &asset{kind: kind, raw: raw, etag: hex.EncodeToString(sum[:8])}
		if path.Ext(name) != ".woff2" {
			var b bytes.Buffer
			z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is valid
			_, _ = z.Write(raw)                                   // to memory: cannot fail
			_ = z.Close()
			f.gzip = b.Bytes()
		}
		a.files["/"+name] = f
		return nil
	})
	return a, err
}

// url names a file with its content, for pages.
func (a *assets) url(name string) (string, error) {
	f := a.files["/static/"+name]
	if f == nil {
		return "", fmt.Errorf("link asset %s: no such file", name)
	}
	return "/static/" + name + "?v=" + f.etag, nil
}

func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := a.files[r.URL.Path]
	if f == nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("ETag", `"`+f.etag+`"`)
	h.Set("Vary", "Accept-Encoding")
	if r.URL.Query().Get("v") == f.etag || strings.HasPrefix(r.URL.Path, "/static/vendor/") { // vendored names hold their version
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache") // a module imported by its plain name: asks each time
	}
	if strings.Contains(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := f.raw
	if f.gzip != nil && acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		body = f.gzip
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the reader is gone: nobody to tell
	}
}
