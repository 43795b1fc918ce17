package issuer

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/sekisho/sekisho/internal/httpx"
)

// keepFor is how long clients may keep the documents: far less than a key is published before it signs.
const keepFor = time.Hour

// discovery is the document of OpenID Connect Discovery 1.0 section 3, as far as there is something to say: people don't
// sign in here.
type discovery struct {
	Issuer     string   `json:"issuer"`
	JWKS       string   `json:"jwks_uri"`
	Responses  []string `json:"response_types_supported"`
	Subjects   []string `json:"subject_types_supported"`
	Algorithms []string `json:"id_token_signing_alg_values_supported"`
	Scopes     []string `json:"scopes_supported"`
	Claims     []string `json:"claims_supported"`
}

// Serve answers what is below [Path]: the discovery document and the key set, which everybody may read.
func (i *Issuer) Serve(w *httpx.Response, r *http.Request) error {
	w.Event.Operation = "Issuer"
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return &httpx.Error{Status: http.StatusMethodNotAllowed, Message: "use GET"}
	}
	var text []byte
	var err error
	switch r.URL.Path {
	case Path + "/.well-known/openid-configuration":
		var url string
		if url, err = i.URL(); err == nil {
			text, err = json.Marshal(discovery{
				Issuer: url, JWKS: url + "/keys", Responses: []string{"id_token"}, Subjects: []string{"public"}, Algorithms: []string{"ES256"},
				Scopes: []string{"openid"},
				Claims: []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "account", "project", "project_id", "pipeline", "pipeline_id", "run_id",
					"run_number", "run_attempt", "stage", "job", "environment", "repository", "ref", "sha", "reason", "requested_for", "agent", "pool"},
			})
		}
	case Path + "/keys":
		text, err = i.Keys(r.Context())
	default:
		return &httpx.Error{Status: http.StatusNotFound, Message: "the documents of the issuer are " + Path + "/.well-known/openid-configuration and " + Path + "/keys"}
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(int(keepFor/time.Second)))
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, err = w.Write(text)
	return err
}
