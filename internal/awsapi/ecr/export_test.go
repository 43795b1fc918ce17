package ecr

import (
	"maps"
	"net/url"
	"testing"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/registry"
)

// Constraints are those that inputs are held against, by operation.
func Constraints() map[string][]awsapi.Member {
	all := maps.Clone(constraints)
	maps.Copy(all, registryConstraints)
	return all
}

// AddressesFor returns the repositoryUri and proxyEndpoint of a repository "app".
func AddressesFor(t *testing.T, domain, public, account string, o httpx.Origin) (uri, endpoint string) {
	t.Helper()
	a := Addresses{Account: "111122223333", Region: "eu-west-1", Domain: domain}
	if public != "" {
		var err error
		if a.PublicURL, err = url.Parse(public); err != nil {
			t.Fatal(err)
		}
	}
	return a.repository(registry.Repo{Account: account, Name: "app"}, o), a.endpoint(account, o)
}
