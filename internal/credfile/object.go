package credfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// object is a JSON object that keeps what it does not understand: the order of its members, and their text.
type object []member

type member struct {
	key   string
	value json.RawMessage
}

func parseObject(text []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := expect(dec, json.Delim('{')); err != nil {
		return nil, err
	}
	o := object{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, explain(dec, err)
		}
		m := member{key: key.(string)} // where a key belongs, the decoder gives nothing else
		if err := dec.Decode(&m.value); err != nil {
			return nil, explain(dec, err)
		}
		o = append(o, m)
	}
	if err := expect(dec, json.Delim('}')); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("there is something after the JSON object, at byte %d", dec.InputOffset())
	}
	return o, nil
}

func expect(dec *json.Decoder, want json.Delim) error {
	got, err := dec.Token()
	if err != nil {
		return explain(dec, err)
	}
	if got != want {
		return errors.New("it is not a JSON object")
	}
	return nil
}

func explain(dec *json.Decoder, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("it is not JSON: at byte %d: %w", dec.InputOffset(), err)
}

// get returns the value of a key; as in all readers of JSON, the last one counts.
func (o object) get(key string) json.RawMessage {
	for i := len(o) - 1; i >= 0; i-- {
		if o[i].key == key {
			return o[i].value
		}
	}
	return nil
}

// set replaces the value of a key, or adds it at the end.
func (o *object) set(key string, value json.RawMessage) {
	for i := len(*o) - 1; i >= 0; i-- {
		if (*o)[i].key == key {
			(*o)[i].value = value
			return
		}
	}
	*o = append(*o, member{key, value})
}

func (o *object) remove(key string) {
	kept := (*o)[:0]
	for _, m := range *o {
		if m.key != key {
			kept = append(kept, m)
		}
	}
	*o = kept
}

// object returns the object that a key holds, an empty one if it holds none or null.
func (o object) object(key string) (object, error) {
	value := o.get(key)
	if value == nil || string(value) == "null" {
		return object{}, nil
	}
	inner, err := parseObject(value)
	if err != nil {
		return nil, fmt.Errorf("%s: it is not a JSON object", key)
	}
	return inner, nil
}

// text returns the string that a key holds, "" if it holds none or null.
func (o object) text(key string) (string, error) {
	value := o.get(key)
	if value == nil {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return "", fmt.Errorf("%s: it is not a string", key)
	}
	return s, nil
}

func (o object) encode() json.RawMessage {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, jsonString(m.key)...)
		b = append(b, ':')
		b = append(b, m.value...)
	}
	return append(b, '}')
}

// jsonString encodes s without the escapes that are for HTML.
func jsonString(s string) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can't fail
	return bytes.TrimRight(b.Bytes(), "\n")
}
