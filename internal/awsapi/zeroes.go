package awsapi

import (
	"reflect"
	"strings"

	"github.com/aws/smithy-go"
)

// zeroes are, by the name of a structure, its members that the SDK has without a pointer because the model gives them a
// default. The SDK leaves them out of requests where they are zero. AWS never leaves them out of answers: scripts read
// scanOnPush, and Terraform compares it, without asking whether it is there. The name of the output itself is "".
type zeroes map[string][]string

// zeroesOf collects the zeroes of an output and of everything in it.
func zeroesOf(out reflect.Type) zeroes {
	z := zeroes{}
	z.add("", out)
	return z
}

func (z zeroes) add(name string, t reflect.Type) {
	if _, ok := z[name]; ok {
		return
	}
	z[name] = nil
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Name == resultMetadata {
			continue
		}
		switch f.Type.Kind() {
		case reflect.Bool, reflect.Int32, reflect.Int64, reflect.Float32, reflect.Float64:
			z[name] = append(z[name], f.Name)
		}
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && strings.HasSuffix(inner.PkgPath(), "/types") {
			z.add(inner.Name(), inner)
		}
	}
}

// complete is v with its zeroes.
type complete struct {
	v smithy.Serializable
	z zeroes
}

// Serialize implements [smithy.Serializable].
func (c complete) Serialize(s smithy.ShapeSerializer) {
	c.v.Serialize(&completing{ShapeSerializer: s, z: c.z})
}

// completing passes everything on, and at the end of a structure writes the zeroes that were not.
type completing struct {
	smithy.ShapeSerializer
	z    zeroes
	open []structure
}

type structure struct {
	schema  *smithy.Schema
	zeroes  []string
	written map[string]bool // nil where there are no zeroes
}

func (c *completing) WriteStruct(schema *smithy.Schema) {
	c.ShapeSerializer.WriteStruct(schema)
	name := ""
	if len(c.open) > 0 {
		if name = schema.TargetID().Name; name == "" {
			name = schema.ID().Name
		}
	}
	s := structure{schema: schema, zeroes: c.z[name]}
	if s.zeroes != nil {
		s.written = map[string]bool{}
	}
	c.open = append(c.open, s)
}

func (c *completing) CloseStruct() {
	s := c.open[len(c.open)-1]
	for _, name := range s.zeroes {
		for member, schema := range s.schema.Members() {
			if strings.EqualFold(member, name) && !s.written[member] {
				c.writeZero(schema)
			}
		}
	}
	c.open = c.open[:len(c.open)-1]
	c.ShapeSerializer.CloseStruct()
}

func (c *completing) writeZero(schema *smithy.Schema) {
	switch schema.Type() {
	case smithy.ShapeTypeBoolean:
		c.ShapeSerializer.WriteBool(schema, false)
	case smithy.ShapeTypeInteger, smithy.ShapeTypeLong:
		c.ShapeSerializer.WriteInt64(schema, 0)
	case smithy.ShapeTypeFloat, smithy.ShapeTypeDouble:
		c.ShapeSerializer.WriteFloat64(schema, 0)
	}
}

func (c *completing) note(schema *smithy.Schema) {
	if n := len(c.open); n > 0 && c.open[n-1].written != nil {
		c.open[n-1].written[schema.MemberName()] = true
	}
}

func (c *completing) WriteBool(schema *smithy.Schema, v bool) {
	c.note(schema)
	c.ShapeSerializer.WriteBool(schema, v)
}

func (c *completing) WriteInt32(schema *smithy.Schema, v int32) {
	c.note(schema)
	c.ShapeSerializer.WriteInt32(schema, v)
}

func (c *completing) WriteInt64(schema *smithy.Schema, v int64) {
	c.note(schema)
	c.ShapeSerializer.WriteInt64(schema, v)
}

func (c *completing) WriteFloat32(schema *smithy.Schema, v float32) {
	c.note(schema)
	c.ShapeSerializer.WriteFloat32(schema, v)
}

func (c *completing) WriteFloat64(schema *smithy.Schema, v float64) {
	c.note(schema)
	c.ShapeSerializer.WriteFloat64(schema, v)
}
