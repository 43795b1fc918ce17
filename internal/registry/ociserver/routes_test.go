package ociserver_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
	"github.com/sekisho/sekisho/internal/registry/ociserver"
)

// denying is an Authorizer that refuses some actions and allows all others.
type denying struct{ actions []string }

func (d *denying) Authorize(_ context.Context, _ *iam.Caller, r *iam.Request) iam.Decision {
	action := r.Action
	if slices.Contains(d.actions, action) {
		return iam.Decision{Reason: "because no identity-based policy allows the " + action + " action"}
	}
	return iam.Decision{Allowed: true}
}

// routeCalls are requests of each route, with what they ask of policies; the first of a route asks for no more than its
// row of the table says, the others are what the row's note is about.
var routeCalls = map[string][]routeCall{
	"GET /v2/":         {{path: "/v2/"}},
	"HEAD /v2/":        {{path: "/v2/"}},
	"GET /v2/_catalog": {{path: "/v2/_catalog", asks: []string{"ecr:DescribeRepositories *"}}},
	"GET /v2/<repository>/tags/list": {{path: "/v2/team/app/tags/list", asks: []string{"ecr:ListImages team/app"}},
		{path: "/v2/team/app/tags/list?n=0", asks: []string{"ecr:ListImages team/app"}}},
	"GET /v2/<repository>/manifests/<tag or digest>":    {{path: "/v2/team/app/manifests/v1", asks: []string{"ecr:BatchGetImage team/app"}}},
	"HEAD /v2/<repository>/manifests/<tag or digest>":   {{path: "/v2/team/app/manifests/v1", asks: []string{"ecr:BatchGetImage team/app"}}},
	"DELETE /v2/<repository>/manifests/<tag or digest>": {{path: "/v2/team/app/manifests/v1", asks: []string{"ecr:BatchDeleteImage team/app"}}},
	"PUT /v2/<repository>/manifests/<tag or digest>": {
		{path: "/v2/team/app/manifests/v2", body: imageOf(oci.TypeImage, small), asks: []string{"ecr:PutImage team/app"}},
		{path: "/v2/team/new/manifests/v2", body: indexOf(oci.TypeIndex, ""), asks: []string{"ecr:PutImage team/new", "ecr:CreateRepository team/new", "ecr:PutImage team/new"}},
	},
	"GET /v2/<repository>/referrers/<digest>": {{path: "/v2/team/app/referrers/" + sum("x"), asks: []string{"ecr:BatchGetImage team/app"}}},
	"HEAD /v2/<repository>/blobs/<digest>":    {{path: "/v2/team/app/blobs/" + sum(small), asks: []string{"ecr:BatchCheckLayerAvailability team/app"}}},
	"GET /v2/<repository>/blobs/<digest>":     {{path: "/v2/team/app/blobs/" + sum(small), asks: []string{"ecr:GetDownloadUrlForLayer team/app"}}},
	"DELETE /v2/<repository>/blobs/<digest>":  {{path: "/v2/from/blobs/" + sum("{}"), asks: []string{"ecr:BatchDeleteImage from"}}},
	"POST /v2/<repository>/blobs/uploads/": {
		{path: "/v2/team/app/blobs/uploads/", asks: []string{"ecr:InitiateLayerUpload team/app"}},
		{path: "/v2/team/app/blobs/uploads/?digest=" + sum("x"), body: "x", asks: []string{"ecr:InitiateLayerUpload team/app", "ecr:CompleteLayerUpload team/app"}},
		{path: "/v2/team/app/blobs/uploads/?from=from&mount=" + sum(large), asks: []string{"ecr:InitiateLayerUpload team/app", "ecr:GetDownloadUrlForLayer from"}},
		{path: "/v2/team/newer/blobs/uploads/", asks: []string{"ecr:InitiateLayerUpload team/newer", "ecr:CreateRepository team/newer", "ecr:InitiateLayerUpload team/newer"}},
	},
	"PATCH /v2/<repository>/blobs/uploads/<id>":  {{path: "LOCATION", body: "x", asks: []string{"ecr:UploadLayerPart team/app"}}},
	"PUT /v2/<repository>/blobs/uploads/<id>":    {{path: "LOCATION?digest=" + sum("xx"), body: "x", asks: []string{"ecr:CompleteLayerUpload team/app"}}},
	"GET /v2/<repository>/blobs/uploads/<id>":    {{path: "LOCATION", asks: []string{"ecr:UploadLayerPart team/app"}}},
	"HEAD /v2/<repository>/blobs/uploads/<id>":   {{path: "LOCATION", asks: []string{"ecr:UploadLayerPart team/app"}}},
	"DELETE /v2/<repository>/blobs/uploads/<id>": {{path: "LOCATION", asks: []string{"ecr:UploadLayerPart team/app"}}},
}

type routeCall struct {
	path, body string
	asks       []string // "action repository"
}

// TestRoutes: each route asks policies what its row says. Refused, it does nothing and says who may not do what on what,
// except that a mount whose source may not be read becomes an upload.
func TestRoutes(t *testing.T) {
	denied := &denying{}
	in, location := scene(t, setup{authorizer: denied, settings: registry.Settings{CreateOnPush: true}})
	in.push("from", "{}")
	var rows []string
	for _, r := range ociserver.Routes {
		row := r.Method + " " + r.Path
		rows = append(rows, row)
		calls := routeCalls[row]
		if len(calls) == 0 {
			t.Errorf("%s: the table has a row that is not tested", row)
			continue
		}
		for i, rc := range calls {
			c := call{method: r.Method, path: strings.Replace(rc.path, "LOCATION", location, 1), body: rc.body}
			var actions, asks []string
			for _, a := range rc.asks {
				action, repo, _ := strings.Cut(a, " ")
				if asks = append(asks, action+" arn:aws:ecr:"+region+":"+account+":repository/"+repo); !slices.Contains(actions, action) {
					actions = append(actions, action)
				}
			}
			if i == 0 && len(actions) > 1 || len(actions) > 0 && actions[0] != r.Action || len(actions) == 0 && r.Action != "" {
				t.Errorf("%s asks %s, the table says %s", row, actions, r.Action)
			}
			for _, action := range actions {
				if i > 0 && action != r.Action && !strings.Contains(r.Note, action) {
					t.Errorf("%s asks %s, the note does not say so", row, action)
				}
				denied.actions = []string{action}
				if action == "ecr:GetDownloadUrlForLayer" && r.Action != action {
					in.expect(c, want{status: 202})
					continue
				}
				in.expect(c, want{status: 403, code: "DENIED", says: "User: " + iam.RootARN(account) + " is not authorized to perform: " + action + " on resource: arn:aws:ecr:"})
			}
			denied.actions = nil
			in.asked.take()
			if a := in.do(c); a.status >= 400 {
				t.Errorf("%s %s: status %d %s", c.method, c.path, a.status, a.message)
			}
			if diff := cmp.Diff(asks, in.asked.take()); diff != "" {
				t.Errorf("%s %s asks: %s", c.method, c.path, diff)
			}
		}
	}
	for row := range routeCalls {
		if !slices.Contains(rows, row) {
			t.Errorf("%s is tested but not in the table", row)
		}
	}
}

// TestMethods: another method than the table has gets 405, and is told those that it has.
func TestMethods(t *testing.T) {
	in, location := scene(t, setup{})
	allowed := map[string][]string{}
	for _, r := range ociserver.Routes {
		path := strings.NewReplacer("<repository>", "team/app", "<tag or digest>", "v1", "<digest>", sum(small), "/v2/<repository>/blobs/uploads/<id>", location).Replace(r.Path)
		allowed[path] = append(allowed[path], r.Method)
	}
	for path, methods := range allowed {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "X"} {
			if slices.Contains(methods, method) || method == http.MethodConnect { // which names a host, not a path
				continue
			}
			in.expect(call{method: method, path: path}, want{status: 405, code: "UNSUPPORTED", says: methods[0], header: fields{"Allow": strings.Join(methods, ", ")}})
		}
	}
	in.expect(call{method: "HEAD", path: "/v2/team/app/manifests/v1"}, want{status: 200})
}
