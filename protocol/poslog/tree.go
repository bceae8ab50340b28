package poslog

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// node is one element of a transaction. Names are local: vendors put the same
// element into several namespaces.
type node struct {
	name  string
	attrs []xml.Attr
	text  string
	kids  []*node
}

var (
	errDoctype  = errors.New("has a document type declaration, which is refused: remove the DOCTYPE")
	errDepth    = fmt.Errorf("nests deeper than %d elements", depthMax)
	errNodes    = fmt.Errorf("has a transaction of more than %d elements", nodesMax)
	errAttrs    = fmt.Errorf("has an element with more than %d attributes", attrsMax)
	errEncoding = errors.New("is not in UTF-8: convert the file, or have the sender write UTF-8")
	errRoot     = errors.New("is no POSLog: the root element must be POSLog or Transaction")
)

// newXML makes a decoder that knows no entities but the five of XML, and no
// encoding but UTF-8.
func newXML(r io.Reader) *xml.Decoder {
	d := xml.NewDecoder(r)
	d.Strict = true
	d.Entity = nil
	d.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, errEncoding }
	return d
}

// readTree reads the element that start opened, to its end.
func readTree(d *xml.Decoder, start *xml.StartElement) (*node, error) {
	root := &node{name: start.Name.Local, attrs: start.Attr}
	stack, count := []*node{root}, 1
	for {
		tok, err := d.Token()
		if err != nil {
			return nil, err
		}
		top := stack[len(stack)-1]
		switch t := tok.(type) {
		case xml.StartElement:
			if len(stack) >= depthMax {
				return nil, errDepth
			}
			if count++; count > nodesMax {
				return nil, errNodes
			}
			if len(t.Attr) > attrsMax {
				return nil, errAttrs
			}
			n := &node{name: t.Name.Local, attrs: t.Attr}
			top.kids = append(top.kids, n)
			stack = append(stack, n)
		case xml.EndElement:
			top.text = strings.TrimSpace(top.text)
			if stack = stack[:len(stack)-1]; len(stack) == 0 {
				return root, nil
			}
		case xml.CharData:
			if len(t) > 0 && len(top.text) < 4096 {
				top.text += string(t)
			}
		case xml.Directive:
			return nil, errDoctype
		}
	}
}

// kid finds the first child of a name.
func (n *node) kid(name string) *node {
	for _, k := range n.kids {
		if k.name == name {
			return k
		}
	}
	return nil
}

// value is the text of the first child of a name.
func (n *node) value(name string) string {
	if k := n.kid(name); k != nil {
		return k.text
	}
	return ""
}

func (n *node) attr(name string) string {
	for i := range n.attrs {
		if n.attrs[i].Name.Local == name {
			return n.attrs[i].Value
		}
	}
	return ""
}

func (n *node) flag(name string) bool {
	v := n.attr(name)
	return v == "true" || v == "1"
}
