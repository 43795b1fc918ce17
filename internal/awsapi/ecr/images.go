package ecr

import (
	"context"
	"slices"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/registry"
)

const (
	scanPage  = 1000 // images looked at in one go when a filter may drop many
	scanPages = 20   // so many goes in one request; then the answer has fewer results than were asked for
)

func (a *API) describeImages(ctx context.Context, c *awsapi.Call, in *sdk.DescribeImagesInput) (*sdk.DescribeImagesOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	out := &sdk.DescribeImagesOutput{ImageDetails: []types.ImageDetail{}}
	if in.ImageIds != nil {
		if in.MaxResults != nil || in.NextToken != nil {
			return nil, invalid("imageIds", "maxResults and nextToken can't be used with imageIds")
		}
		images, err := a.namedImages(ctx, c, r, in.ImageIds)
		for i := range images {
			out.ImageDetails = append(out.ImageDetails, detail(r, &images[i]))
		}
		return out, err
	}
	from, err := parsePage(in.NextToken)
	if err != nil {
		return nil, err
	}
	var keep imageFilter
	if in.Filter != nil {
		keep = imageFilter{in.Filter.TagStatus, in.Filter.ImageStatus}
	}
	want := pageSize(in.MaxResults)
	after := from.After
	for range scanPages {
		images, more, err := a.Registry.Images(ctx, c.Caller, r, registry.Page{After: after, Limit: keep.pageSize(want)})
		if err != nil {
			return nil, err
		}
		for i := range images {
			if len(out.ImageDetails) == want {
				out.NextToken = page{After: after}.token()
				return out, nil
			}
			after = string(images[i].Digest)
			if keep.matches(&images[i]) {
				out.ImageDetails = append(out.ImageDetails, detail(r, &images[i]))
			}
		}
		if !more || keep.nothing() {
			return out, nil
		}
	}
	out.NextToken = page{After: after}.token()
	return out, nil
}

// namedImages returns the images of identifiers, each once.
func (a *API) namedImages(ctx context.Context, c *awsapi.Call, r registry.Repo, ids []types.ImageIdentifier) ([]registry.Image, error) {
	var images []registry.Image
	seen := map[digest.Digest]bool{}
	for _, id := range ids {
		ref, want, failure := reference(id)
		if failure != nil {
			return nil, invalid("imageIds", *failure.FailureReason)
		}
		i, err := a.Registry.Image(ctx, c.Caller, r, ref)
		if err != nil {
			return nil, err
		}
		if want != "" && i.Digest != want {
			return nil, imageNotFound(r, id)
		}
		if !seen[i.Digest] {
			seen[i.Digest] = true
			images = append(images, *i)
		}
	}
	return images, nil
}

func detail(r registry.Repo, i *registry.Image) types.ImageDetail {
	d := types.ImageDetail{
		RegistryId:             &r.Account,
		RepositoryName:         &r.Name,
		ImageDigest:            new(string(i.Digest)),
		ImageManifestMediaType: &i.MediaType,
		ArtifactMediaType:      text(i.ArtifactType),
		SubjectManifestDigest:  text(i.Subject),
		ImageSizeInBytes:       &i.Size,
		ImagePushedAt:          &i.PushedAt,
		ImageStatus:            imageStatus(i),
		LastArchivedAt:         moment(i.ArchivedAt),
		LastActivatedAt:        moment(i.ActivatedAt),
		LastRecordedPullTime:   moment(i.PulledAt),
	}
	if d.ArtifactMediaType == nil {
		d.ArtifactMediaType = text(i.ConfigMediaType)
	}
	if len(i.Tags) > 0 {
		d.ImageTags = i.Tags
	}
	return d
}

// moment is a member that is left out where there is none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (a *API) listImages(ctx context.Context, c *awsapi.Call, in *sdk.ListImagesInput) (*sdk.ListImagesOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	out := &sdk.ListImagesOutput{ImageIds: []types.ImageIdentifier{}}
	at, err := parsePage(in.NextToken)
	if err != nil {
		return nil, err
	}
	var keep imageFilter
	if in.Filter != nil {
		keep = imageFilter{in.Filter.TagStatus, in.Filter.ImageStatus}
	}
	want := pageSize(in.MaxResults)
	for range scanPages {
		images, more, err := a.Registry.ImageIDs(ctx, c.Caller, r, registry.Page{After: at.before(), Limit: keep.pageSize(want)})
		if err != nil {
			return nil, err
		}
		for i := range images {
			d := string(images[i].Digest)
			if d < at.After || !keep.matches(&images[i]) {
				at.After = max(at.After, d)
				continue
			}
			for _, id := range at.rest(&images[i]) {
				if len(out.ImageIds) == want {
					out.NextToken = at.token()
					return out, nil
				}
				out.ImageIds = append(out.ImageIds, id)
				at = page{After: d}
				if id.ImageTag != nil {
					at.Tag = *id.ImageTag
				}
			}
			at = page{After: d}
		}
		if !more || keep.nothing() {
			return out, nil
		}
	}
	out.NextToken = at.token()
	return out, nil
}

// rest returns the identifiers of an image that the page has not come to: one for each tag, or one without.
func (p page) rest(i *registry.Image) []types.ImageIdentifier {
	d := string(i.Digest)
	tags := i.Tags
	if d == p.After {
		n, found := slices.BinarySearch(tags, p.Tag)
		if found {
			n++
		}
		tags = tags[n:]
	} else if len(tags) == 0 {
		return []types.ImageIdentifier{{ImageDigest: &d}}
	}
	ids := make([]types.ImageIdentifier, len(tags))
	for n := range tags {
		ids[n] = types.ImageIdentifier{ImageDigest: &d, ImageTag: &tags[n]}
	}
	return ids
}

// nearby is how many digests can differ in their last digit alone.
const nearby = 16

// before returns where to look from: so that the image After is found again if not all of its tags were given.
func (p page) before() string {
	if p.Tag == "" {
		return p.After
	}
	return p.After[:len(p.After)-1]
}

// imageFilter is the filter of a list.
type imageFilter struct {
	tags   types.TagStatus
	status types.ImageStatusFilter // empty: those that can be pulled
}

func (f imageFilter) matches(i *registry.Image) bool {
	if f.nothing() || f.status != types.ImageStatusFilterAny && i.Archived != (f.status == types.ImageStatusFilterArchived) {
		return false
	}
	switch f.tags {
	case types.TagStatusTagged:
		return len(i.Tags) > 0
	case types.TagStatusUntagged:
		return len(i.Tags) == 0
	}
	return true
}

// nothing reports whether no image can match: leaving the archive takes no time here.
func (f imageFilter) nothing() bool { return f.status == types.ImageStatusFilterActivating }

// pageSize is how many images to look at for so many results.
func (f imageFilter) pageSize(want int) int {
	if f.tags == types.TagStatusTagged || f.tags == types.TagStatusUntagged || f.status == types.ImageStatusFilterArchived {
		return scanPage
	}
	return min(want+nearby, scanPage)
}
