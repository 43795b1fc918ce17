package ecr_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
)

func byTag(tag string) types.ImageIdentifier { return types.ImageIdentifier{ImageTag: &tag} }

func byDigest(d digest.Digest) types.ImageIdentifier {
	return types.ImageIdentifier{ImageDigest: aws.String(string(d))}
}

func both(d digest.Digest, tag string) types.ImageIdentifier {
	return types.ImageIdentifier{ImageDigest: aws.String(string(d)), ImageTag: &tag}
}

// shown is an identifier or a failure in short.
func shown(id *types.ImageIdentifier) string {
	return strings.TrimSuffix(aws.ToString(id.ImageDigest)+"@"+aws.ToString(id.ImageTag), "@")
}

func TestPutAndGetImage(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	s.createRepository(t, "app")
	amd64, first := s.putImage(t, "app", "")
	arm64, second := s.putImage(t, "app", "")
	index, indexText := s.putIndex(t, "app", "v1", first, second)

	// Whatever is accepted, manifests are given as they were pushed: a converted one has another digest.
	missing := digest.FromString("missing")
	got, err := s.client.BatchGetImage(ctx, &sdk.BatchGetImageInput{
		RepositoryName: aws.String("app"), AcceptedMediaTypes: []string{typeManifest},
		ImageIds: []types.ImageIdentifier{
			byTag("v1"), byDigest(amd64), both(index, "v1"), byDigest(index),
			byTag("nope"), byDigest(missing), both(amd64, "v1"), {}, byTag("-"), byDigest("sha256:x"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var images, failures []string
	for _, i := range got.Images {
		images = append(images, shown(i.ImageId)+" "+*i.ImageManifestMediaType)
		if text := *i.ImageManifest; digest.FromString(text) != digest.Digest(*i.ImageId.ImageDigest) || *i.RegistryId != account || *i.RepositoryName != "app" {
			t.Errorf("image %s: %s", shown(i.ImageId), text)
		}
	}
	for _, f := range got.Failures {
		failures = append(failures, shown(f.ImageId)+" "+string(f.FailureCode))
	}
	if diff := cmp.Diff([]string{
		string(index) + "@v1 " + typeIndex, string(amd64) + " " + typeManifest, string(index) + "@v1 " + typeIndex, string(index) + " " + typeIndex,
	}, images); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"@nope ImageNotFound", string(missing) + " ImageNotFound", string(amd64) + "@v1 ImageTagDoesNotMatchDigest",
		" MissingDigestAndTag", "@- InvalidImageTag", "sha256:x InvalidImageDigest",
	}, failures); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}

	// A second tag on the same bytes: the digest stays.
	if d := s.putManifest(t, "app", "released", indexText); d != index {
		t.Errorf("retagged as %s, want %s", d, index)
	}

	put := func(edit func(*sdk.PutImageInput)) error {
		in := &sdk.PutImageInput{RepositoryName: aws.String("app"), ImageManifest: &first, ImageTag: aws.String("t")}
		edit(in)
		_, err := s.client.PutImage(ctx, in)
		return err
	}
	absent := descriptor{typeLayer, missing, 1}
	for _, tt := range []struct {
		err        error
		code, text string
	}{
		{put(func(in *sdk.PutImageInput) { in.ImageDigest = aws.String(string(arm64)) }), "ImageDigestDoesNotMatchException", string(arm64)},
		{put(func(in *sdk.PutImageInput) { in.ImageDigest = aws.String("md5:1") }), "InvalidParameterException", "'imageDigest'"},
		{put(func(in *sdk.PutImageInput) { in.ImageTag = aws.String("a b") }), "InvalidParameterException", "'imageTag'"},
		{put(func(in *sdk.PutImageInput) { in.ImageTag = aws.String(strings.Repeat("a", 301)) }), "InvalidParameterException", "'imageTag'"},
		{put(func(in *sdk.PutImageInput) { in.ImageManifest = aws.String("{}") }), "InvalidParameterException", "'imageManifest'"},
		{put(func(in *sdk.PutImageInput) { in.ImageManifest = aws.String("no JSON") }), "InvalidParameterException", "'imageManifest'"},
		{put(func(in *sdk.PutImageInput) { in.ImageManifest = aws.String(strings.Repeat("x", 4<<20+1)) }), "InvalidParameterException", "'Member must have length less than or equal to 4194304'"},
		{put(func(in *sdk.PutImageInput) { in.RepositoryName = aws.String("nope") }), "RepositoryNotFoundException", "'nope'"},
		{put(func(in *sdk.PutImageInput) {
			in.ImageManifest = aws.String(render(t, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "config": absent, "layers": []descriptor{}}))
		}), "LayersNotFoundException", "Layers with digests '[" + string(missing) + "]' required for pushing image into repository with name 'app' in the registry with id '111122223333' do not exist"},
		{put(func(in *sdk.PutImageInput) {
			in.ImageManifest = aws.String(render(t, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []descriptor{{typeManifest, missing, 1}}}))
		}), "ReferencedImagesNotFoundException", "Images with digests '[" + string(missing) + "]' required for pushing image"},
	} {
		wantError(t, tt.err, tt.code, tt.text)
	}
}

func TestImmutableTag(t *testing.T) {
	s := newServer(t)
	_, err := s.client.CreateRepository(t.Context(), &sdk.CreateRepositoryInput{RepositoryName: aws.String("app"), ImageTagMutability: "IMMUTABLE"})
	if err != nil {
		t.Fatal(err)
	}
	s.putImage(t, "app", "v1")
	_, other := s.putImage(t, "app", "v2")
	_, err = s.client.PutImage(t.Context(), &sdk.PutImageInput{RepositoryName: aws.String("app"), ImageManifest: &other, ImageTag: aws.String("v1")})
	wantError(t, err, "ImageTagAlreadyExistsException", "The image tag 'v1' already exists in the 'app' repository and cannot be overwritten because the tag is immutable")
}

func TestBatchDeleteImage(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	s.createRepository(t, "app")
	del := func(ids ...types.ImageIdentifier) (deleted, failures []string) {
		t.Helper()
		out, err := s.client.BatchDeleteImage(ctx, &sdk.BatchDeleteImageInput{RepositoryName: aws.String("app"), ImageIds: ids})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range out.ImageIds {
			deleted = append(deleted, shown(&id))
		}
		for _, f := range out.Failures {
			failures = append(failures, shown(f.ImageId)+" "+string(f.FailureCode))
		}
		return deleted, failures
	}
	expect := func(what string, deleted, failures, wantDeleted, wantFailures []string) {
		t.Helper()
		if diff := cmp.Diff([][]string{wantDeleted, wantFailures}, [][]string{deleted, failures}, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	exists := func(d digest.Digest) bool {
		t.Helper()
		out, err := s.client.BatchGetImage(ctx, &sdk.BatchGetImageInput{RepositoryName: aws.String("app"), ImageIds: []types.ImageIdentifier{byDigest(d)}})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Images) == 1
	}

	// A tag goes alone while there are others; the last one takes the image.
	d, text := s.putImage(t, "app", "a")
	s.putManifest(t, "app", "b", text)
	deleted, failures := del(byTag("a"))
	expect("first tag", deleted, failures, []string{string(d) + "@a"}, nil)
	if !exists(d) {
		t.Error("the image went with its first tag")
	}
	other := digest.FromString("other")
	deleted, failures = del(both(other, "b"), byTag("nope"), byDigest(other), types.ImageIdentifier{}, byTag("-"), byDigest("x"))
	expect("failures", deleted, failures, nil, []string{
		string(other) + "@b ImageNotFound", "@nope ImageNotFound", string(other) + " ImageNotFound", " MissingDigestAndTag", "@- InvalidImageTag", "x InvalidImageDigest",
	})
	deleted, failures = del(both(d, "b"))
	expect("last tag", deleted, failures, []string{string(d) + "@b"}, nil)
	if exists(d) {
		t.Error("the image is there without a tag")
	}

	// A child of an index stays while the index does. Together they go, in whatever order.
	one, oneText := s.putImage(t, "app", "one")
	two, twoText := s.putImage(t, "app", "")
	index, _ := s.putIndex(t, "app", "all", oneText, twoText)
	deleted, failures = del(byDigest(two))
	expect("child", deleted, failures, nil, []string{string(two) + " ImageReferencedByManifestList"})
	deleted, failures = del(byDigest(two), byDigest(one), byTag("all"))
	slices.Sort(deleted)
	want := []string{string(two), string(one), string(index) + "@all"}
	slices.Sort(want)
	expect("all", deleted, failures, want, nil)

	_, err := s.client.BatchDeleteImage(ctx, &sdk.BatchDeleteImageInput{RepositoryName: aws.String("nope"), ImageIds: []types.ImageIdentifier{byTag("a")}})
	wantError(t, err, "RepositoryNotFoundException", "'nope'")
	_, err = s.client.BatchDeleteImage(ctx, &sdk.BatchDeleteImageInput{RepositoryName: aws.String("app"), ImageIds: []types.ImageIdentifier{}})
	wantError(t, err, "InvalidParameterException", "'imageIds' failed to satisfy constraint: 'Member must have length greater than or equal to 1'")
}

func TestDescribeImages(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	s.createRepository(t, "app")
	d, text := s.putImage(t, "app", "v2")
	s.putManifest(t, "app", "v1", text)
	untagged, _ := s.putImage(t, "app", "")

	out, err := s.client.DescribeImages(ctx, &sdk.DescribeImagesInput{
		RepositoryName: aws.String("app"), ImageIds: []types.ImageIdentifier{byTag("v1"), byTag("v2"), byDigest(untagged), both(d, "v1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []types.ImageDetail{
		{
			RegistryId: aws.String(account), RepositoryName: aws.String("app"), ImageDigest: aws.String(string(d)), ImageTags: []string{"v1", "v2"},
			ImageManifestMediaType: aws.String(typeManifest), ArtifactMediaType: aws.String(typeConfig), ImageStatus: types.ImageStatusActive, ImageSizeInBytes: aws.Int64(102),
		},
		{
			RegistryId: aws.String(account), RepositoryName: aws.String("app"), ImageDigest: aws.String(string(untagged)),
			ImageManifestMediaType: aws.String(typeManifest), ArtifactMediaType: aws.String(typeConfig), ImageStatus: types.ImageStatusActive, ImageSizeInBytes: aws.Int64(102),
		},
	}
	if diff := cmp.Diff(want, out.ImageDetails, ignoreMetadata, cmpopts.IgnoreFields(types.ImageDetail{}, "ImagePushedAt")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if age := time.Since(*out.ImageDetails[0].ImagePushedAt); age < 0 || age > time.Minute {
		t.Errorf("pushed %v ago", age)
	}
	for _, id := range []types.ImageIdentifier{byTag("nope"), byDigest(digest.FromString("x")), both(untagged, "v1")} {
		_, err := s.client.DescribeImages(ctx, &sdk.DescribeImagesInput{RepositoryName: aws.String("app"), ImageIds: []types.ImageIdentifier{id}})
		null := func(p *string) string {
			if p == nil {
				return "null"
			}
			return *p
		}
		wantError(t, err, "ImageNotFoundException", fmt.Sprintf("The image with imageId {imageDigest:'%s', imageTag:'%s'} does not exist within the repository "+
			"with name 'app' in the registry with id '111122223333'", null(id.ImageDigest), null(id.ImageTag)))
	}
	_, err = s.client.DescribeImages(ctx, &sdk.DescribeImagesInput{RepositoryName: aws.String("app"), ImageIds: []types.ImageIdentifier{byTag("v1")}, MaxResults: aws.Int32(1)})
	wantError(t, err, "InvalidParameterException", "'imageIds'")
	_, err = s.client.DescribeImages(ctx, &sdk.DescribeImagesInput{RepositoryName: aws.String("nope")})
	wantError(t, err, "RepositoryNotFoundException", "'nope'")
	_, err = s.client.ListImages(ctx, &sdk.ListImagesInput{RepositoryName: aws.String("nope")})
	wantError(t, err, "RepositoryNotFoundException", "'nope'")
}

// TestListPages goes through images with many tags, one and none, in pages of every size and with every filter, and
// must see each exactly once.
func TestListPages(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	s.createRepository(t, "app")
	var tagged, untagged, taggedDigests []string
	for i := range 9 {
		d, text := s.putImage(t, "app", "")
		for n := range []int{0, 1, 5}[i%3] {
			tag := fmt.Sprintf("t%d-%d", i, n)
			s.putManifest(t, "app", tag, text)
			tagged = append(tagged, string(d)+"@"+tag)
		}
		if i%3 == 0 {
			untagged = append(untagged, string(d))
		} else {
			taggedDigests = append(taggedDigests, string(d))
		}
	}
	sorted := func(lists ...[]string) []string {
		all := slices.Concat(lists...)
		slices.Sort(all)
		return all
	}
	for _, tt := range []struct {
		tags        types.TagStatus
		status      types.ImageStatusFilter
		ids, images []string
	}{
		{"", "", sorted(tagged, untagged), sorted(taggedDigests, untagged)},
		{"ANY", "ANY", sorted(tagged, untagged), sorted(taggedDigests, untagged)},
		{"TAGGED", "ACTIVE", sorted(tagged), sorted(taggedDigests)},
		{"UNTAGGED", "", sorted(untagged), sorted(untagged)},
		{"TAGGED", "ARCHIVED", nil, nil},
	} {
		for _, size := range []int32{1, 2, 3, 4, 5, 20, 21, 1000} {
			what := fmt.Sprintf("%s %s in pages of %d", tt.tags, tt.status, size)
			var ids, images []string
			list := sdk.NewListImagesPaginator(s.client, &sdk.ListImagesInput{
				RepositoryName: aws.String("app"), MaxResults: &size, Filter: &types.ListImagesFilter{TagStatus: tt.tags, ImageStatus: tt.status},
			})
			for list.HasMorePages() {
				page, err := list.NextPage(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if len(page.ImageIds) > int(size) || len(page.ImageIds) == 0 && page.NextToken != nil {
					t.Fatalf("%s: a page of %d", what, len(page.ImageIds))
				}
				for _, id := range page.ImageIds {
					ids = append(ids, shown(&id))
				}
			}
			if diff := cmp.Diff(tt.ids, ids, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("ListImages %s (-want +got):\n%s", what, diff)
			}
			describe := sdk.NewDescribeImagesPaginator(s.client, &sdk.DescribeImagesInput{
				RepositoryName: aws.String("app"), MaxResults: &size, Filter: &types.DescribeImagesFilter{TagStatus: tt.tags, ImageStatus: tt.status},
			})
			for describe.HasMorePages() {
				page, err := describe.NextPage(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if len(page.ImageDetails) > int(size) {
					t.Fatalf("%s: a page of %d", what, len(page.ImageDetails))
				}
				for _, i := range page.ImageDetails {
					images = append(images, *i.ImageDigest)
				}
			}
			if diff := cmp.Diff(tt.images, images, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("DescribeImages %s (-want +got):\n%s", what, diff)
			}
		}
	}
}

func TestLayers(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	s.createRepository(t, "app")
	large := make([]byte, 3<<20)
	_, _ = rand.Read(large)
	d := s.putLayer(t, "app", large, 1<<20)
	small := s.putLayer(t, "app", []byte("small"), 100)

	missing := digest.FromString("missing")
	check, err := s.client.BatchCheckLayerAvailability(ctx, &sdk.BatchCheckLayerAvailabilityInput{
		RepositoryName: aws.String("app"), LayerDigests: []string{string(d), string(missing), "", "nonsense", string(small)},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range check.Layers {
		got = append(got, fmt.Sprint(*l.LayerDigest, " ", l.LayerAvailability, " ", aws.ToInt64(l.LayerSize)))
	}
	for _, f := range check.Failures {
		got = append(got, fmt.Sprint(*f.LayerDigest, " ", f.FailureCode))
	}
	if diff := cmp.Diff([]string{
		string(d) + " AVAILABLE 3145728", string(missing) + " UNAVAILABLE 0", string(small) + " AVAILABLE 5", " MissingLayerDigest", "nonsense InvalidLayerDigest",
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	for layer, want := range map[digest.Digest]string{d: string(large), small: "small"} {
		link, err := s.client.GetDownloadUrlForLayer(ctx, &sdk.GetDownloadUrlForLayerInput{RepositoryName: aws.String("app"), LayerDigest: aws.String(string(layer))})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.Get(*link.DownloadUrl)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || string(body) != want {
			t.Errorf("download of %s: %s, %d bytes, %v", layer, resp.Status, len(body), err)
		}
	}
	_, err = s.client.GetDownloadUrlForLayer(ctx, &sdk.GetDownloadUrlForLayerInput{RepositoryName: aws.String("app"), LayerDigest: aws.String(string(missing))})
	wantError(t, err, "LayersNotFoundException", string(missing))
	_, err = s.client.GetDownloadUrlForLayer(ctx, &sdk.GetDownloadUrlForLayerInput{RepositoryName: aws.String("app"), LayerDigest: aws.String("x")})
	wantError(t, err, "InvalidParameterException", "'layerDigest' failed to satisfy constraint: 'must satisfy regular expression '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+''")
	_, err = s.client.GetDownloadUrlForLayer(ctx, &sdk.GetDownloadUrlForLayerInput{RepositoryName: aws.String("app"), LayerDigest: aws.String("md5:00")})
	wantError(t, err, "InvalidParameterException", "md5")
}

func TestUploadErrors(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	s.createRepository(t, "app")
	started, err := s.client.InitiateLayerUpload(ctx, &sdk.InitiateLayerUploadInput{RepositoryName: aws.String("app")})
	if err != nil || *started.PartSize < 5<<20 || *started.PartSize > 20<<20 {
		t.Fatalf("%+v, %v", started, err)
	}
	upload := func(id string, first, last int64, size int) error {
		_, err := s.client.UploadLayerPart(ctx, &sdk.UploadLayerPartInput{
			RepositoryName: aws.String("app"), UploadId: &id, PartFirstByte: &first, PartLastByte: &last, LayerPartBlob: make([]byte, size),
		})
		return err
	}
	id := *started.UploadId
	if err := upload(id, 0, 99, 100); err != nil {
		t.Fatal(err)
	}
	err = upload(id, 50, 149, 100)
	wantError(t, err, "InvalidLayerPartException", "")
	if e, ok := errors.AsType[*types.InvalidLayerPartException](err); !ok || aws.ToInt64(e.LastValidByteReceived) != 99 || aws.ToString(e.UploadId) != id ||
		aws.ToString(e.RepositoryName) != "app" || aws.ToString(e.RegistryId) != account {
		t.Errorf("%+v", e)
	}
	wantError(t, upload(id, 200, 299, 100), "InvalidLayerPartException", "")
	wantError(t, upload(id, 100, 198, 100), "InvalidParameterException", "'partLastByte'")
	wantError(t, upload(id, 100, 99, 0), "InvalidParameterException", "'partLastByte'")
	wantError(t, upload(id, -1, 98, 100), "InvalidParameterException", "'partFirstByte'")
	wantError(t, upload("nonsense", 0, 99, 100), "UploadNotFoundException", "nonsense")
	wantError(t, upload(id, 100, 100+20<<20, 20<<20+1), "InvalidParameterException", "'layerPartBlob' failed to satisfy constraint: 'Member must have length less than or equal to 20971520'")
	if err := upload(id, 100, 199, 100); err != nil {
		t.Errorf("after the refusals: %v", err)
	}

	complete := func(repo, id string, digests ...string) error {
		_, err := s.client.CompleteLayerUpload(ctx, &sdk.CompleteLayerUploadInput{RepositoryName: &repo, UploadId: &id, LayerDigests: digests})
		return err
	}
	right := string(digest.FromBytes(make([]byte, 200)))
	wantError(t, complete("app", id, right, right), "InvalidParameterException", "'layerDigests'")
	wantError(t, complete("app", id, "sha256:00"), "InvalidParameterException", "'layerDigests.1.member'")
	wantError(t, complete("app", "nonsense", right), "UploadNotFoundException", "nonsense")
	s.createRepository(t, "other")
	wantError(t, complete("other", id, right), "UploadNotFoundException", id)
	wantError(t, complete("app", id, string(digest.FromString("x"))), "InvalidLayerException", right)

	_, err = s.client.InitiateLayerUpload(ctx, &sdk.InitiateLayerUploadInput{RepositoryName: aws.String("nope")})
	wantError(t, err, "RepositoryNotFoundException", "'nope'")
}
