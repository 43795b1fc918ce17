package awsapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
)

func TestCheckJSON(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, tt := range []struct {
		name string
		json string
		want string // part of the error; empty: none
	}{
		{"empty object", `{}`, ""},
		{"array", `[1,"a",null,true,{"b":[]}]`, ""},
		{"same name in other objects", `{"a":{"a":1},"b":[{"a":1},{"a":2}]}`, ""},
		{"name as a value", `{"a":"a","b":"a"}`, ""},
		{"names in an array", `["a","a"]`, ""},
		{"brackets in a string", `{"a":"}{][,\"","b":1}`, ""},
		{"escapes", `{"a":"\\","b":"\\\"","c":"\u0022"}`, ""},
		{"surrogate pair", `{"a":"\ud83d\ude00"}`, ""},
		{"escaped backslash before u", `{"a":"\\ud83d"}`, ""},
		{"as deep as allowed", deep(maxDepth), ""},

		{"too deep", deep(maxDepth + 1), "nested deeper than 32"},
		{"too many", "[" + strings.Repeat("1,", maxValues+1) + "1]", "more than 50000 values"},
		{"duplicate", `{"a":1,"b":2,"a":3}`, `"a" is there twice`},
		{"duplicate in another case", `{"repositoryName":"x","RepositoryName":"y"}`, `"RepositoryName" is there twice`},
		{"duplicate by folding", `{"mask":1,"maſK":2}`, "twice"}, // long s, Kelvin sign
		{"duplicate by an escape", `{"a":1,"\u0061":2}`, "twice"},
		{"duplicate further in", `{"x":[{"a":1,"A":2}]}`, "twice"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "not valid UTF-8"},
		{"lone surrogate", `{"a":"\ud83d"}`, "surrogate"},
		{"surrogates swapped", `{"a":"\ude00\ud83d"}`, "surrogate"},
		{"surrogate and another", `{"a":"\ud83d\u0041"}`, "surrogate"},
		{"cut in a string", `{"a":"b`, "too early"},
		{"cut in an escape", `{"a":"\`, "too early"},
		{"cut after an escaped quote", `{"a":"\"`, "too early"},
		{"cut in a code", `{"a":"\u00`, "too early"},
		{"closes nothing", `}`, "closes nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkJSON([]byte(tt.json))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestCheckJSONIsLinear has a string of nothing but escapes, with its end far away.
func TestCheckJSONIsLinear(t *testing.T) {
	body := []byte(`{"a":"` + strings.Repeat(`\\`, 4<<20) + `"}`)
	start := time.Now()
	if err := checkJSON(body); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v for %d bytes", took, len(body))
	}
}

func TestDecodeJSON(t *testing.T) {
	for _, tt := range []struct {
		name string
		json string
		want string // part of the error; empty: none
	}{
		{"nothing", ``, ""},
		{"members in other cases and unknown ones", `{"RepositoryName":"a","LAYERDIGESTS":["x"],"new":{"a":[1]}}`, ""},
		{"null", `{"repositoryName":null}`, ""},
		{"number for a string", `{"repositoryName":1}`, "repositoryName: NUMBER_VALUE can not be converted to a String"},
		{"string for a number", `{"partFirstByte":"1"}`, "partFirstByte: STRING_VALUE can not be converted to an Integer"},
		{"fraction for an integer", `{"partFirstByte":1.5}`, "partFirstByte: NUMBER_VALUE can not be converted to an Integer"},
		{"number too large", `{"partFirstByte":9223372036854775808}`, "can not be converted to an Integer"},
		{"object for a string", `{"repositoryName":{}}`, "repositoryName: OBJECT_VALUE can not be converted to a String"},
		{"array at the top", `[]`, "ARRAY_VALUE can not be converted to a Structure"},
		{"no base64", `{"layerPartBlob":"%"}`, "not acceptable JSON"},
		{"trailing", `{} {}`, "not acceptable JSON"},
		{"truncated", `{"repositoryName":"a"`, "not acceptable JSON"},
		{"brackets crossed", `{"repositoryName":["a"}]`, "not acceptable JSON"},
		{"no JSON", `hello`, "not acceptable JSON"},
		{"byte order mark", "\ufeff{}", "not acceptable JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var in ecr.UploadLayerPartInput
			err := decodeJSON([]byte(tt.json), &in)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// FuzzDecodeJSON checks that whatever is accepted means one thing: what it decodes to, written out and read again, is
// the same, and no member was there twice.
func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{
		`{"repositoryName":"a","imageIds":[{"imageTag":"x"},{"imageDigest":"sha256:00"}],"maxResults":3}`,
		`{"a":1,"A":2}`, `{"a":"\ud83d\ude00","b":"\u0000"}`, `[[[[]]]]`, `{"filter":{"tagStatus":"ANY"}}`, "{\"a\":\"\xff\"}", `{"x":"\"`, `{}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var in ecr.DescribeImagesInput
		if err := decodeJSON(body, &in); err != nil || len(body) == 0 {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("accepted %q", body)
		}
		if n := members(t, body); n < 0 {
			t.Fatalf("accepted a member twice: %q", body)
		}
		again, err := encodeJSON(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		var second ecr.DescribeImagesInput
		if err := decodeJSON(again, &second); err != nil {
			t.Fatalf("%v\n%q", err, again)
		}
		third, err := encodeJSON(t.Context(), &second)
		if err != nil || string(third) != string(again) {
			t.Fatalf("%v\n%q\n%q", err, again, third)
		}
	})
}

// members counts the members of all objects in a valid document, or returns -1 if encoding/json sees fewer: one was
// there twice.
func members(t *testing.T, body []byte) int {
	var kept func(v any) int
	kept = func(v any) (n int) {
		switch v := v.(type) {
		case map[string]any:
			n = len(v)
			for _, e := range v {
				n += kept(e)
			}
		case []any:
			for _, e := range v {
				n += kept(e)
			}
		}
		return n
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	var inObject []bool
	var key bool
	sent := 0
	for {
		token, err := d.Token()
		if err != nil {
			break
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if len(inObject) > 0 && inObject[len(inObject)-1] {
				key = true
			}
			inObject = append(inObject, token == json.Delim('{'))
			key = token == json.Delim('{')
			continue
		case json.Delim('}'), json.Delim(']'):
			inObject = inObject[:len(inObject)-1]
		default:
			if len(inObject) > 0 && inObject[len(inObject)-1] && key {
				sent++
				key = false
				continue
			}
		}
		key = len(inObject) > 0 && inObject[len(inObject)-1]
	}
	if n := kept(v); n != sent {
		return -1
	}
	return sent
}
