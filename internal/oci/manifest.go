package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Manifest media types the registry understands. Each is kept and served as it came.
const (
	TypeImage          = "application/vnd.oci.image.manifest.v1+json"
	TypeIndex          = "application/vnd.oci.image.index.v1+json"
	TypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	TypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	// TypeArtifact is the artifact manifest of image-spec 1.1's release candidates; clients of that time still push it.
	TypeArtifact = "application/vnd.oci.artifact.manifest.v1+json"
)

// Limits on manifests.
const (
	MaxManifest    = 4 << 20 // bytes (distribution-spec, "Pushing Manifests": at least 4 megabytes)
	maxDescriptors = 10_000  // blobs and children of one manifest
	maxDepth       = 64      // nesting of the JSON text
)

// Descriptor is what the registry reads of a content descriptor (image-spec, descriptor.md).
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      digest.Digest     `json:"digest"`
	Size        int64             `json:"size"`
	URLs        []string          `json:"urls,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// ArtifactType is set in referrers lists.
	ArtifactType string    `json:"artifactType,omitempty"`
	Platform     *Platform `json:"platform,omitempty"`
}

// Platform is a descriptor's platform (image-spec, image-index.md).
type Platform struct {
	Architecture string   `json:"architecture"`
	OS           string   `json:"os"`
	OSVersion    string   `json:"os.version,omitempty"`
	OSFeatures   []string `json:"os.features,omitempty"`
	Variant      string   `json:"variant,omitempty"`
}

// Manifest is what a manifest's bytes say.
type Manifest struct {
	MediaType    string
	ArtifactType string      // as a referrers list shows it: the config's media type where the manifest has none of its own
	Config       *Descriptor // of an image
	Blobs        []Descriptor
	Children     []Descriptor // of an index
	Subject      *Descriptor
	Annotations  map[string]string
}

// IsIndex reports whether mediaType is an index's: a manifest of manifests.
func IsIndex(mediaType string) bool { return mediaType == TypeIndex || mediaType == TypeDockerList }

// Distributable reports whether a layer must be in the registry: false for the foreign layers that are fetched elsewhere.
func (d Descriptor) Distributable() bool {
	return !strings.Contains(d.MediaType, ".nondistributable.") && !strings.Contains(d.MediaType, ".foreign.")
}

// Size is the number of bytes the manifest's own blobs have by their descriptors, config included; math.MaxInt64 if it
// is larger than that.
func (m *Manifest) Size() int64 {
	var n int64
	for _, b := range m.Blobs {
		if n += b.Size; n < 0 {
			return math.MaxInt64
		}
	}
	return n
}

// wire has the members the registry looks at. Every other member is kept in the bytes and not looked at.
type wire struct {
	SchemaVersion json.Number       `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *Descriptor       `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Blobs         []Descriptor      `json:"blobs"`
	Manifests     []Descriptor      `json:"manifests"`
	Subject       *Descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// ParseManifest reads the manifest in data. contentType is the request's Content-Type, parameters ignored; empty, the
// manifest's own mediaType counts. Two readers must never see two different manifests in the same bytes, so a
// mediaType that contradicts the Content-Type, a member given twice (in whatever case) and an image that is an index
// at the same time are refused (image-spec, "Ambiguous documents").
func ParseManifest(contentType string, data []byte) (*Manifest, error) {
	if len(data) > MaxManifest {
		return nil, fmt.Errorf("the manifest has %d bytes, at most %d are accepted", len(data), MaxManifest)
	}
	if !plainJSON(data) {
		if err := checkJSON(data); err != nil {
			return nil, err
		}
	}
	var w wire
	if err := json.Unmarshal(data, &w); err != nil {
		return nil, jsonError(err)
	}
	if contentType != "" {
		t, _, err := mime.ParseMediaType(contentType)
		if err != nil && t == "" {
			return nil, fmt.Errorf("Content-Type %s is not a media type", quote(contentType))
		}
		contentType = t
	}
	m := &Manifest{MediaType: contentType, ArtifactType: w.ArtifactType, Config: w.Config, Subject: w.Subject, Annotations: w.Annotations}
	switch {
	case m.MediaType == "" && w.MediaType == "":
		return nil, errors.New("neither the request's Content-Type nor the manifest's mediaType says what the manifest is; set both to the same value")
	case m.MediaType == "" || m.MediaType == "application/octet-stream" || m.MediaType == "application/json":
		m.MediaType = w.MediaType
	case w.MediaType != "" && w.MediaType != m.MediaType:
		return nil, fmt.Errorf("the request's Content-Type is %s but the manifest's mediaType is %s; they must be the same", quote(m.MediaType), quote(w.MediaType))
	}
	if err := m.fill(&w); err != nil {
		return nil, err
	}
	return m, m.check()
}

// fill sorts the descriptors by what the media type says they are.
func (m *Manifest) fill(w *wire) error {
	switch m.MediaType {
	case TypeImage, TypeDockerManifest:
		if w.Config == nil {
			return errors.New("config is missing; an image manifest names its configuration there")
		}
		if w.Manifests != nil {
			return errors.New("an image manifest must not have manifests: that is an index's member")
		}
		m.Blobs = append([]Descriptor{*w.Config}, w.Layers...)
		if m.ArtifactType == "" {
			m.ArtifactType = w.Config.MediaType
		}
	case TypeIndex, TypeDockerList:
		if w.Config != nil || w.Layers != nil {
			return errors.New("an index must not have config or layers: those are an image manifest's members")
		}
		m.Children = w.Manifests
	case TypeArtifact:
		m.Blobs = w.Blobs
	case "application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws":
		return errors.New("docker's schema 1 manifests are not supported; push with a client of 2017 or later")
	default:
		return fmt.Errorf("media type %s is no manifest's; use %s or %s and say what an artifact is in artifactType", quote(m.MediaType), TypeImage, TypeIndex)
	}
	if m.MediaType != TypeArtifact && w.SchemaVersion != "2" {
		return fmt.Errorf("schemaVersion must be 2, it is %s", quote(string(w.SchemaVersion)))
	}
	return nil
}

func (m *Manifest) check() error {
	if n := len(m.Blobs) + len(m.Children); n > maxDescriptors {
		return fmt.Errorf("the manifest has %d descriptors, at most %d are accepted", n, maxDescriptors)
	}
	for i, d := range m.Blobs {
		name := fmt.Sprintf("layers[%d]", i-1)
		if m.Config == nil {
			name = fmt.Sprintf("blobs[%d]", i)
		} else if i == 0 {
			name = "config"
		}
		if err := checkDescriptor(name, d); err != nil {
			return err
		}
	}
	for i, d := range m.Children {
		if err := checkDescriptor(fmt.Sprintf("manifests[%d]", i), d); err != nil {
			return err
		}
	}
	if m.Subject != nil {
		if err := checkDescriptor("subject", *m.Subject); err != nil {
			return err
		}
	}
	return checkMediaType("artifactType", m.ArtifactType)
}

func checkDescriptor(name string, d Descriptor) error {
	if _, err := ParseDigest(string(d.Digest)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if d.Size < 0 {
		return fmt.Errorf("%s: size must not be negative, it is %d", name, d.Size)
	}
	return checkMediaType(name+": mediaType", d.MediaType)
}

// checkMediaType refuses what no media type has in it (RFC 6838, section 4.2), though not all that is none: clients have
// their own ideas of what they may write there.
func checkMediaType(name, s string) error {
	if strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		return fmt.Errorf("%s %s is not a media type: it has characters other than printable ASCII", name, quote(s))
	}
	return nil
}

// plainJSON reports whether data surely has nothing that checkJSON refuses, at a tenth of its cost. It says no to much
// that is right.
func plainJSON(data []byte) bool {
	if !json.Valid(data) {
		return false
	}
	var names [16][]byte
	n, depth, key := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			if depth++; depth > maxDepth || depth == 1 && data[i] == '[' {
				return false
			}
			key = depth == 1
		case '}', ']':
			depth--
		case ',':
			key = depth == 1
		case '"':
			start := i + 1
			for i++; data[i] != '"'; i++ { // the text is valid, so it ends
				escaped := data[i] == '\\'
				if key && (escaped || data[i] >= 0x80) {
					return false
				}
				if escaped {
					i++
				}
			}
			if !key {
				continue
			}
			key = false
			name := data[start:i]
			if n == len(names) || slices.ContainsFunc(names[:n], func(other []byte) bool { return bytes.EqualFold(name, other) }) {
				return false
			}
			names[n] = name
			n++
		}
	}
	return n > 0
}

// checkJSON walks the text once: one object, bounded depth, no member of the outermost object twice.
func checkJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	open, err := dec.Token()
	if err != nil {
		return jsonError(err)
	}
	if open != json.Delim('{') {
		return errors.New("the manifest must be one JSON object")
	}
	seen := map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return jsonError(err)
		}
		name := strings.ToLower(key.(string))
		if seen[name] {
			return fmt.Errorf("the manifest has the member %s twice", quote(key.(string)))
		}
		seen[name] = true
		if err := skipValue(dec); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return jsonError(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("the manifest must be one JSON object, with nothing after it")
	}
	return nil
}

func skipValue(dec *json.Decoder) error {
	for depth := 1; ; {
		t, err := dec.Token()
		if err != nil {
			return jsonError(err)
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return fmt.Errorf("the manifest is nested deeper than %d levels", maxDepth)
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 1 {
			return nil
		}
	}
}

func jsonError(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the manifest ends too early; is the body whole?")
	case errors.As(err, &syntax):
		return fmt.Errorf("the manifest is not JSON: %v at byte %d", syntax, syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Errorf("the manifest's %s must be a %s, it is a %s", kind.Field, kind.Type, kind.Value)
	}
	return fmt.Errorf("the manifest is not JSON: %v", err)
}
