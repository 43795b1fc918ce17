package registry

import (
	"context"
	"net/url"
	"regexp"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
)

// knownUpstream is a registry that ECR knows by the form of its host name.
type knownUpstream struct {
	kind string
	host *regexp.Regexp
	// needsCredential: ECR makes no rule without one. Who wants to pull from it as anybody can gives its address as a URL.
	needsCredential bool
}

// knownUpstreams are those of API_CreatePullThroughCacheRule, "upstreamRegistryUrl".
var knownUpstreams = []knownUpstream{
	{"ecr", regexp.MustCompile(`^[0-9]{12}\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|on\.aws)$`), false},
	{"ecr-public", regexp.MustCompile(`^public\.ecr\.aws$`), false},
	{"quay", regexp.MustCompile(`^quay\.io$`), false},
	{"k8s", regexp.MustCompile(`^registry\.k8s\.io$`), false},
	{"docker-hub", regexp.MustCompile(`^registry-1\.docker\.io$`), true},
	{"github-container-registry", regexp.MustCompile(`^ghcr\.io$`), true},
	{"azure-container-registry", regexp.MustCompile(`^[a-zA-Z0-9-]+\.azurecr\.(io|cn|us)$`), true},
	{"gitlab-container-registry", regexp.MustCompile(`^registry\.gitlab\.com$`), true},
	{"chainguard", regexp.MustCompile(`^cgr\.dev$`), true},
}

var hostPattern = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?$`)

// maxHost is how long a host name and port may be; counted in the pattern, it would make a large program of it.
const maxHost = 253 + len(":65535")

// resolve checks an upstream and finds out which of the known ones it is, if any. Beyond ECR's, it takes any registry's
// host, and URLs.
func (u *Upstream) resolve() error {
	for _, known := range knownUpstreams {
		if !known.host.MatchString(u.URL) {
			continue
		}
		if u.Kind != "" && u.Kind != known.kind {
			return errParameter("upstreamRegistry", "Upstream registry '%s' does not match the upstream registry URL '%s'", u.Kind, u.URL)
		}
		if known.needsCredential && u.CredentialARN == "" {
			return errorf(UpstreamUnsupported, "The specified upstream registry requires authentication. Specify a valid Secrets Manager ARN, "+
				"or give its address as https://%s to pull without authentication", u.URL)
		}
		u.Kind = known.kind
		return nil
	}
	if u.Kind != "" || !isAddress(u.URL) {
		return errorf(UpstreamUnsupported, "The upstream registry URL %s is invalid. Specify a valid upstream registry URL and try again", u.URL)
	}
	return nil
}

// isAddress reports whether s is a registry's host, or its URL.
func isAddress(s string) bool {
	const maxURL = 2048
	if len(s) > maxURL {
		return false
	}
	if !strings.Contains(s, "://") {
		return len(s) <= maxHost && hostPattern.MatchString(s) && strings.ContainsAny(s, ".:")
	}
	p, err := url.Parse(s)
	return err == nil && (p.Scheme == "https" || p.Scheme == "http") && len(p.Host) <= maxHost && hostPattern.MatchString(p.Host) &&
		p.User == nil && p.RawQuery == "" && p.Fragment == "" && !p.ForceQuery
}

// rolePattern is that of a role's ARN.
var rolePattern = regexp.MustCompile(`^arn:aws(-[a-z]+)*:iam::([0-9]{12}):role/[\w+=,.@/-]+$`)

const maxRoleARN = 640

// checkAccess checks the role and the secret of an Access, as far as their ARNs go, and whether the caller may read the
// secret and hand the role on.
func (k *Control) checkAccess(ctx context.Context, c *iam.Caller, account string, a *Access) error {
	if a.CredentialARN != "" {
		if owner := iam.ARNAccount(a.CredentialARN); owner != account {
			return errParameter("credentialArn", "The secret must be in the account of the registry, %s", account)
		}
		// Whoever names the upstream that a secret is shown to, reads it.
		if err := k.j.Check(ctx, c, iam.On(c, "secretsmanager:GetSecretValue", a.CredentialARN)); err != nil {
			return err
		}
	}
	return k.checkRole(ctx, c, account, a.RoleARN)
}

// checkRole checks that a role, if one is named, is of the account, and that the caller may pass it on to the registry.
func (k *Control) checkRole(ctx context.Context, c *iam.Caller, account, arn string) error {
	if arn == "" {
		return nil
	}
	if m := rolePattern.FindStringSubmatch(arn); m == nil || m[2] != account || len(arn) > maxRoleARN {
		return errParameter("customRoleArn", "The role must be the ARN of a role in the account of the registry, %s", account)
	}
	r := iam.On(c, "iam:PassRole", arn)
	r.Keys = map[string][]string{"iam:passedtoservice": {"ecr.amazonaws.com"}}
	return k.j.Check(ctx, c, r)
}
