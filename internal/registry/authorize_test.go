package registry_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

const account = "111122223333"

func root(account string) *iam.Caller {
	return (&iam.Principal{Account: account, ARN: iam.RootARN(account), Type: iam.Root}).Caller()
}

// nowhere panics when a call reaches it.
type nowhere struct{ registry.Registry }

// notes is what a Judge was told: "allowed" or "denied", action, resource.
type notes []string

func (n *notes) note(_ *iam.Caller, r *iam.Request, d iam.Decision) {
	verdict := "denied"
	if d.Allowed {
		verdict = "allowed"
	}
	*n = append(*n, verdict+" "+r.Action+" "+r.Resource.ARN)
}

func judge(a iam.Authorizer, note func(*iam.Caller, *iam.Request, iam.Decision)) *registry.Judge {
	return &registry.Judge{Judge: iam.Judge{Authorizer: a, Note: note}, Region: "eu-west-1"}
}

// denying is an Authorizer that refuses one action and allows all others.
type denying string

func (d denying) Authorize(_ context.Context, _ *iam.Caller, r *iam.Request) iam.Decision {
	return iam.Decision{Allowed: r.Action != string(d), Reason: "because it is refused"}
}

var (
	app   = registry.Repo{Account: account, Name: "team/app"}
	other = registry.Repo{Account: account, Name: "team/other"}
	made  = registry.Repo{Account: account, Name: "team/made"}
)

// call is one call of a registry's method, and what it needs: "action resource", in order. In resources, app, other, made and *
// stand for repositories, registry for the registry.
type call struct {
	method string
	needs  []string
	do     func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error
}

// scene is what the calls work on.
type scene struct {
	blob, upload string
	image        []byte
}

func (s *scene) digest() digest.Digest { return digest.FromString(s.blob) }

func second[T any](_ T, err error) error        { return err }
func third[T, U any](_ T, _ U, err error) error { return err }
func tagged(name string) oci.Reference          { return oci.Reference{Tag: name} }
func put(s *scene, tag string) registry.ManifestPut {
	return registry.ManifestPut{Tags: []string{tag}, MediaType: oci.TypeImage, Data: s.image}
}

// calls has every method of the interface, in an order in which all of them succeed.
var calls = []call{
	{"CreateRepository", []string{"ecr:CreateRepository other", "ecr:TagResource other"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.CreateRepository(ctx, c, other, registry.RepositorySettings{}, map[string]string{"a": "b"}))
	}},
	{"CreateRepository", []string{"ecr:CreateRepository app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.CreateRepository(ctx, c, app, registry.RepositorySettings{}, nil))
	}},
	{"CreateByTemplate", []string{"ecr:CreateRepository made"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.CreateByTemplate(ctx, c, made, &registry.Template{TemplateContent: registry.TemplateContent{Tags: map[string]string{"a": "b"}}}))
	}},
	{"Repository", []string{"ecr:DescribeRepositories app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.Repository(ctx, c, app))
	}},
	{"Repositories", []string{"ecr:DescribeRepositories *"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return third(r.Repositories(ctx, c, account, registry.Page{}))
	}},
	{"RepositoryTags", []string{"ecr:ListTagsForResource app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.RepositoryTags(ctx, c, app))
	}},
	{"TagRepository", []string{"ecr:TagResource app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return r.TagRepository(ctx, c, app, map[string]string{"k": "v"}, nil)
	}},
	{"TagRepository", []string{"ecr:UntagResource app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return r.TagRepository(ctx, c, app, nil, []string{"k"})
	}},
	{"TagRepository", []string{"ecr:TagResource app", "ecr:UntagResource app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return r.TagRepository(ctx, c, app, map[string]string{"k": "v"}, []string{"l"})
	}},
	{"TagRepository", []string{"ecr:UntagResource app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return r.TagRepository(ctx, c, app, nil, nil) // does nothing, and still nobody may
	}},
	{"PutTagMutability", []string{"ecr:PutImageTagMutability app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.PutTagMutability(ctx, c, app, registry.Mutable, nil))
	}},
	{"PutScanOnPush", []string{"ecr:PutImageScanningConfiguration app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.PutScanOnPush(ctx, c, app, true))
	}},
	{"SetRepositoryPolicy", []string{"ecr:SetRepositoryPolicy app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return r.SetRepositoryPolicy(ctx, c, app, `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}}`, false)
	}},
	{"RepositoryPolicy", []string{"ecr:GetRepositoryPolicy app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.RepositoryPolicy(ctx, c, app))
	}},
	{"DeleteRepositoryPolicy", []string{"ecr:DeleteRepositoryPolicy app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.DeleteRepositoryPolicy(ctx, c, app))
	}},
	{"PutLifecyclePolicy", []string{"ecr:PutLifecyclePolicy app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return r.PutLifecyclePolicy(ctx, c, app, `{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 9}, "action": {"type": "expire"}}]}`)
	}},
	{"LifecyclePolicy", []string{"ecr:GetLifecyclePolicy app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.LifecyclePolicy(ctx, c, app))
	}},
	{"DeleteLifecyclePolicy", []string{"ecr:DeleteLifecyclePolicy app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.DeleteLifecyclePolicy(ctx, c, app))
	}},
	{"RepositoryScanning", []string{"ecr:BatchGetRepositoryScanningConfiguration app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.RepositoryScanning(ctx, c, app))
	}},
	{"InquireRepository", []string{"ecr:GetLifecyclePolicyPreview app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.InquireRepository(ctx, c, registry.LifecyclePreviewResult, app))
	}},
	{"Settings", []string{"ecr:GetAccountSetting registry"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.Settings(ctx, c, account))
	}},
	{"PutSettings", []string{"ecr:PutAccountSetting registry"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return r.PutSettings(ctx, c, account, registry.Settings{})
	}},
	{"StartUpload", []string{"ecr:InitiateLayerUpload app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) (err error) {
		s.upload, err = r.StartUpload(ctx, c, app)
		return err
	}},
	{"AppendUpload", []string{"ecr:UploadLayerPart app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.AppendUpload(ctx, c, app, s.upload, 0, strings.NewReader(s.blob)))
	}},
	{"UploadSize", []string{"ecr:UploadLayerPart app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.UploadSize(ctx, c, app, s.upload))
	}},
	{"CompleteUpload", []string{"ecr:CompleteLayerUpload app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.CompleteUpload(ctx, c, app, s.upload, registry.UploadEnd{Digest: s.digest(), At: registry.AtEnd}))
	}},
	{"StartUpload", []string{"ecr:InitiateLayerUpload app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) (err error) {
		s.upload, err = r.StartUpload(ctx, c, app)
		return err
	}},
	{"CancelUpload", []string{"ecr:UploadLayerPart app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return r.CancelUpload(ctx, c, app, s.upload)
	}},
	{"StatBlob", []string{"ecr:BatchCheckLayerAvailability app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.StatBlob(ctx, c, app, s.digest()))
	}},
	{"OpenBlob", []string{"ecr:GetDownloadUrlForLayer app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		b, err := r.OpenBlob(ctx, c, app, s.digest())
		if err != nil {
			return err
		}
		return b.Close()
	}},
	{"MountBlob", []string{"ecr:InitiateLayerUpload other", "ecr:GetDownloadUrlForLayer app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.MountBlob(ctx, c, other, app, s.digest()))
	}},
	{"DeleteBlob", []string{"ecr:BatchDeleteImage other"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return r.DeleteBlob(ctx, c, other, s.digest())
	}},
	{"PutManifest", []string{"ecr:PutImage app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.PutManifest(ctx, c, app, put(s, "v1")))
	}},
	{"Manifest", []string{"ecr:BatchGetImage app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.Manifest(ctx, c, app, tagged("v1")))
	}},
	{"Tags", []string{"ecr:ListImages app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return third(r.Tags(ctx, c, app, registry.Page{}))
	}},
	{"Referrers", []string{"ecr:BatchGetImage app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.Referrers(ctx, c, app, s.digest(), "", registry.Page{}))
	}},
	{"Image", []string{"ecr:DescribeImages app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.Image(ctx, c, app, tagged("v1")))
	}},
	{"ImageReferrers", []string{"ecr:ListImageReferrers app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return third(r.ImageReferrers(ctx, c, app, s.digest(), registry.ReferrerFilter{Active: true}, registry.Page{}))
	}},
	{"ArchiveImage", []string{"ecr:UpdateImageStorageClass app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.ArchiveImage(ctx, c, app, tagged("v1"), true))
	}},
	{"InquireImage", []string{"ecr:DescribeImageScanFindings app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.InquireImage(ctx, c, registry.ScanFindings, app, tagged("v1")))
	}},
	{"Images", []string{"ecr:DescribeImages app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return third(r.Images(ctx, c, app, registry.Page{}))
	}},
	{"ImageIDs", []string{"ecr:ListImages app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return third(r.ImageIDs(ctx, c, app, registry.Page{}))
	}},
	{"DeleteManifest", []string{"ecr:BatchDeleteImage app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.DeleteManifest(ctx, c, app, tagged("v1"), registry.DeleteOptions{}))
	}},
	{"DeleteRepository", []string{"ecr:DeleteRepository app"}, func(ctx context.Context, r registry.Registry, c *iam.Caller, s *scene) error {
		return second(r.DeleteRepository(ctx, c, app, true))
	}},
}

// wanted renders what a call needs as a Judge notes it.
func wanted(verdict string, needs ...string) notes {
	var out notes
	for _, n := range needs {
		action, resource, _ := strings.Cut(n, " ")
		resource = map[string]string{
			"app": "repository/team/app", "other": "repository/team/other", "made": "repository/team/made", "*": "repository/*", "registry": "*",
		}[resource]
		out = append(out, verdict+" "+action+" arn:aws:ecr:eu-west-1:"+account+":"+resource)
	}
	return out
}

func newScene() *scene {
	const content = `{"a":1}`
	d := digest.FromString(content)
	return &scene{blob: content, image: []byte(`{"schemaVersion":2,"config":{"mediaType":"a/b","size":7,"digest":"` + string(d) + `"},"layers":[]}`)}
}

func newMemory(t testing.TB) *registry.Local {
	return local(t, metatest.Open(t, metatest.SQLite(t)), memory(t), registry.Options{UploadKey: bytes.Repeat([]byte("k"), 32)})
}

// TestAuthorize: every method asks for its actions, and notes each decision once.
func TestAuthorize(t *testing.T) {
	var noted notes
	r := registry.Authorize(newMemory(t), judge(iam.RootOnly{}, noted.note))
	s := newScene()
	covered := map[string]bool{"Holders": true} // see TestHoldersAuthorized
	for _, c := range calls {
		covered[c.method] = true
		noted = nil
		if err := c.do(t.Context(), r, root(account), s); err != nil {
			t.Errorf("%s: %v", c.method, err)
		}
		if diff := cmp.Diff(wanted("allowed", c.needs...), noted); diff != "" {
			t.Errorf("%s noted: %s", c.method, diff)
		}
	}
	for m := range reflect.TypeFor[registry.Registry]().Methods() {
		if !covered[m.Name] {
			t.Errorf("the method %s is not in the table", m.Name)
		}
	}
}

// TestDenied: whoever is refused one of the actions reaches nothing.
func TestDenied(t *testing.T) {
	s := newScene()
	s.upload = "x"
	for _, c := range calls {
		for i, need := range c.needs {
			action, _, _ := strings.Cut(need, " ")
			var noted notes
			r := registry.Authorize(nowhere{}, judge(denying(action), noted.note))
			err := c.do(t.Context(), r, root(account), s)
			var denied *iam.DeniedError
			if !errors.As(err, &denied) || denied.Action != action || denied.Reason != "because it is refused" {
				t.Errorf("%s without %s: %v", c.method, need, err)
			}
			want := append(wanted("allowed", c.needs[:i]...), wanted("denied", need)...)
			if diff := cmp.Diff(want, noted); diff != "" {
				t.Errorf("%s without %s noted: %s", c.method, need, diff)
			}
		}
		for name, who := range map[string]*iam.Caller{
			"nobody": nil, "anonymous": {}, "another account's root": root("444455556666"), "root of nothing": {Principal: iam.Principal{Type: iam.Root}},
		} {
			var noted notes
			r := registry.Authorize(nowhere{}, judge(iam.RootOnly{}, noted.note))
			err := c.do(t.Context(), r, who, s)
			var denied *iam.DeniedError
			if !errors.As(err, &denied) || !strings.Contains(err.Error(), "is not authorized to perform: ecr:") || len(noted) != 1 || !strings.HasPrefix(noted[0], "denied") {
				t.Errorf("%s by %s: %v, noted %v", c.method, name, err, noted)
			}
		}
	}
}

// readable is an Authorizer that allows some to be read.
type readable []registry.Repo

func (r readable) Authorize(_ context.Context, _ *iam.Caller, q *iam.Request) iam.Decision {
	return iam.Decision{Allowed: q.Action == "ecr:GetDownloadUrlForLayer" && slices.ContainsFunc(r, func(repo registry.Repo) bool {
		return strings.HasSuffix(q.Resource.ARN, ":"+repo.Account+":repository/"+repo.Name)
	})}
}

// TestHoldersAuthorized: a caller learns only of what it may read.
func TestHoldersAuthorized(t *testing.T) {
	l, s := newMemory(t), newScene()
	for _, repo := range []registry.Repo{app, other} {
		if _, err := l.CreateRepository(t.Context(), nil, repo, registry.RepositorySettings{}, nil); err != nil {
			t.Fatal(err)
		}
		pushBlob(t, l, repo, []byte(s.blob))
	}
	for _, want := range [][]registry.Repo{nil, {app}, {other}, {app, other}} {
		r := registry.Authorize(l, judge(readable(want), new(notes).note))
		got, err := r.Holders(t.Context(), root(account), account, s.digest())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Holders: %v %s", err, diff)
		}
	}
}

// pushBlob pushes a blob in one request.
func pushBlob(t testing.TB, r registry.Registry, repo registry.Repo, data []byte) digest.Digest {
	t.Helper()
	d := digest.FromBytes(data)
	id, err := r.StartUpload(t.Context(), root(repo.Account), repo)
	if err != nil {
		t.Fatal(err)
	}
	end := registry.UploadEnd{Digest: d, At: registry.AtEnd, Body: bytes.NewReader(data), Size: int64(len(data))}
	if _, err := r.CompleteUpload(t.Context(), root(repo.Account), repo, id, end); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCreateOnPush(t *testing.T) {
	for _, tc := range []struct {
		name    string
		on      bool
		deny    string
		creates bool
	}{
		{"off", false, "", false},
		{"on", true, "", true},
		{"on, for one who may not create", true, "ecr:CreateRepository", false},
		{"on, for one who may not push", true, "ecr:InitiateLayerUpload", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, s := newMemory(t), newScene()
			source := registry.Repo{Account: account, Name: "team/source"}
			if _, err := l.CreateRepository(t.Context(), nil, source, registry.RepositorySettings{}, nil); err != nil {
				t.Fatal(err)
			}
			pushBlob(t, l, source, []byte(s.blob))
			if err := l.PutSettings(t.Context(), nil, account, registry.Settings{CreateOnPush: tc.on, SparseManifests: true}); err != nil {
				t.Fatal(err)
			}
			r := registry.CreateOnPush(registry.Authorize(l, judge(denying(tc.deny), new(notes).note)), l)
			for name, push := range map[string]func(registry.Repo) error{
				"start": func(repo registry.Repo) error { return second(r.StartUpload(t.Context(), root(account), repo)) },
				"mount": func(repo registry.Repo) error {
					return second(r.MountBlob(t.Context(), root(account), repo, source, s.digest()))
				},
				"put": func(repo registry.Repo) error {
					if tc.deny == "ecr:InitiateLayerUpload" {
						return errors.New("not of concern")
					}
					return second(r.PutManifest(t.Context(), root(account), repo, put(s, "v1")))
				},
			} {
				repo := registry.Repo{Account: account, Name: "team/" + name}
				for range 2 {
					if err := push(repo); (err == nil) != tc.creates {
						t.Errorf("%s: %v", name, err)
					}
					if _, err := l.Repository(t.Context(), nil, repo); (err == nil) != tc.creates {
						t.Errorf("%s: repository after a push: %v", name, err)
					}
				}
			}
			if !tc.creates {
				return
			}
			for _, name := range []string{"UPPER", "123456789012/a", "a"} {
				repo := registry.Repo{Account: account, Name: name}
				if _, err := r.StartUpload(t.Context(), root(account), repo); !errors.Is(err, registry.ErrOf(registry.NameInvalid)) {
					t.Errorf("push to %q: %v", name, err)
				}
			}
		})
	}
}

// TestCreateOnPushTogether: the layers of a first push come all at once.
func TestCreateOnPushTogether(t *testing.T) {
	l := newMemory(t)
	if err := l.PutSettings(t.Context(), nil, account, registry.Settings{CreateOnPush: true}); err != nil {
		t.Fatal(err)
	}
	r := registry.CreateOnPush(l, l)
	for i := range 10 {
		repo := registry.Repo{Account: account, Name: "team/new" + string(rune('a'+i))}
		errs := make(chan error)
		for range 16 {
			go func() { errs <- second(r.StartUpload(t.Context(), root(account), repo)) }()
		}
		for range 16 {
			if err := <-errs; err != nil {
				t.Errorf("StartUpload: %v", err)
			}
		}
	}
}
