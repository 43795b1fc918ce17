// Package yaml reads the YAML of pipelines into nodes that know where they came from, and writes nodes as YAML.
//
// It holds the limits of what is read (size, depth, number of nodes) and what the language refuses whatever the place:
// anchors, aliases, several documents, keys that occur twice. It knows nothing of pipelines.
package yaml

import "fmt"

// Pos is a place in a file.
type Pos struct {
	File   string // as people are told it: "azure-pipelines.yml", "templates/build.yml@shared"
	Line   int    // from 1; 0 when the place is not known
	Column int    // from 1, in characters
}

// String is "file:line:column".
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Error is what is wrong at a place.
type Error struct {
	Pos     Pos
	Message string
}

func (e *Error) Error() string { return e.Pos.String() + ": " + e.Message }

// Kind says what a node is.
type Kind uint8

// The kinds of nodes.
const (
	Scalar Kind = iota + 1
	Sequence
	Mapping
)

// Type is what a scalar was resolved to. What a file holds is text: a plain true, 1 or ~ is Bool, Number or Null only
// where the language makes it one, and Value is always as it was written.
type Type uint8

// The types of scalars.
const (
	String Type = iota
	Bool
	Number
	Null
)

// Node is one node of a document. Nodes are not changed once they were made: an expansion makes new ones.
type Node struct {
	Kind   Kind
	Pos    Pos
	Value  string  // of a scalar
	Type   Type    // of a scalar
	Quoted bool    // a scalar that was not plain
	Items  []*Node // of a sequence
	Pairs  []Pair  // of a mapping, in their order
}

// Pair is one entry of a mapping.
type Pair struct{ Key, Value *Node }

// Get returns the value of a key, nil if there is none or n is no mapping. Keys are compared as they are written.
func (n *Node) Get(key string) *Node {
	if n == nil || n.Kind != Mapping {
		return nil
	}
	for _, p := range n.Pairs {
		if p.Key.Value == key {
			return p.Value
		}
	}
	return nil
}
