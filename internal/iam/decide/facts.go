package decide

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

// facts is the context of a request: what its condition keys are, looked up as they are asked for. What package policy
// derives from the principal and the resource by itself is not here: aws:PrincipalArn, aws:PrincipalAccount,
// aws:PrincipalType, aws:PrincipalIsAWSService, aws:ResourceAccount.
//
// Implements [policy.Context]. It is for one goroutine.
type facts struct {
	a   *Authorizer
	c   *iam.Caller
	r   *iam.Request
	set *directory.Set // nil unless the caller is a user or a role's session
	now time.Time

	fleeting bool // a key was asked for that may have another value in the next request that a memoKey is the same for

	slots [slots][1]string // the values of the keys that have one
	tags  []tagValue       // those that have been asked for
}

// maxUserAgent is how many bytes of the User-Agent header there are in aws:UserAgent.
const maxUserAgent = 1 << 10

// slot is where a key has its value. Values stay good as long as the question, so no two keys share one.
type slot int

const (
	sourceIP slot = iota
	vpcSourceIP
	sourceVPCE
	sourceVPC
	secureTransport
	currentTime
	epochTime
	userAgent
	userID
	userName
	requestedRegion
	organization
	viaService
	issueTime
	mfaPresent
	federatedProvider
	sourceIdentity
	slots
)

type tagValue struct {
	key   string
	value []string
}

func (f *facts) one(s slot, value string) ([]string, bool) {
	if value == "" {
		return nil, false
	}
	f.slots[s][0] = value
	return f.slots[s][:], true
}

// Values implements [policy.Context].
func (f *facts) Values(key string) ([]string, bool) {
	rest, ok := strings.CutPrefix(key, "aws:")
	if !ok || !remembered(rest) {
		f.fleeting = true
	}
	if ok {
		if values, ok, known := f.global(rest); known {
			return values, ok
		}
	}
	if service, tag, ok := strings.Cut(key, ":resourcetag/"); ok {
		if service == "aws" || serviceIs(f.r.Action, service) {
			return f.tag(key, tag, f.resourceTag)
		}
		return nil, false
	}
	if values, ok := f.r.Keys[key]; ok {
		return values, len(values) > 0
	}
	if s := f.c.Session; s != nil && !strings.HasPrefix(key, "aws:") {
		values, ok := s.Keys[key]
		return values, ok && len(values) > 0
	}
	return nil, false
}

// global returns the values of a key with the prefix aws:, and whether it is one that a request can't bring along.
func (f *facts) global(key string) (values []string, ok, known bool) {
	values, ok = nil, false
	c, s := f.c, f.c.Session
	switch key {
	case "sourceip":
		if c.Endpoint == "" {
			values, ok = f.one(sourceIP, address(c.SourceIP))
		}
	case "vpcsourceip":
		if c.Endpoint != "" {
			values, ok = f.one(vpcSourceIP, address(c.SourceIP))
		}
	case "sourcevpce":
		values, ok = f.one(sourceVPCE, c.Endpoint)
	case "sourcevpc":
		if c.Endpoint != "" {
			values, ok = f.one(sourceVPC, c.VPC)
		}
	case "securetransport":
		values, ok = f.one(secureTransport, strconv.FormatBool(c.SecureTransport))
	case "currenttime":
		values, ok = f.one(currentTime, timestamp(f.now))
	case "epochtime":
		values, ok = f.one(epochTime, strconv.FormatInt(f.now.Unix(), 10))
	case "useragent":
		// It is whatever the client likes, and to compare with a pattern can take as long as the two are, multiplied.
		values, ok = f.one(userAgent, c.UserAgent[:min(len(c.UserAgent), maxUserAgent)])
	case "userid":
		values, ok = f.one(userID, c.ID)
	case "username":
		if c.Type == iam.User && f.set != nil {
			values, ok = f.one(userName, f.set.Name)
		}
	case "requestedregion":
		values, ok = f.one(requestedRegion, f.a.o.Region)
	case "principalorgid":
		if f.set != nil || c.Type == iam.Root {
			values, ok = f.one(organization, f.a.o.OrgID)
		}
	case "viaawsservice":
		values, ok = f.one(viaService, "false")
	case "tokenissuetime":
		if s != nil {
			values, ok = f.one(issueTime, timestamp(s.Issued))
		}
	case "multifactorauthpresent":
		if s != nil { // long-lived keys don't have it
			values, ok = f.one(mfaPresent, "false")
		}
	case "federatedprovider":
		if s == nil {
			return nil, false, false
		}
		values, ok = f.one(federatedProvider, s.Provider)
	case "sourceidentity":
		if s != nil {
			values, ok = f.one(sourceIdentity, s.SourceIdentity)
		}
	case "referer", "sourceaccount", "sourcearn", "sourceorgid", "calledvia", "calledviafirst", "calledvialast", "principalservicename",
		"multifactorauthage", "principalarn", "principalaccount", "principaltype", "principalisawsservice", "resourceaccount":
	default:
		tag, is := strings.CutPrefix(key, "principaltag/")
		if !is {
			return nil, false, false
		}
		values, ok = f.tag(key, tag, f.principalTag)
	}
	return values, ok, true
}

// serviceIs reports whether an action is one of a service, whose name is in lower case.
func serviceIs(action, service string) bool {
	return len(action) > len(service) && action[len(service)] == ':' && strings.EqualFold(action[:len(service)], service)
}

func address(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.Unmap().WithZone("").String()
}

func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// tag returns the value of a tag, which find looks for by its key in lower case.
func (f *facts) tag(key, tag string, find func(string) (string, bool)) ([]string, bool) {
	for _, t := range f.tags {
		if t.key == key {
			return t.value, t.value != nil
		}
	}
	found := tagValue{key: key}
	if value, ok := find(tag); ok {
		found.value = []string{value}
	}
	f.tags = append(f.tags, found)
	return found.value, found.value != nil
}

// resourceTag finds a tag of the resource.
func (f *facts) resourceTag(key string) (string, bool) { return folded(f.r.Resource.Tags, key) }

// principalTag finds a tag of the session, or else of the user or role.
func (f *facts) principalTag(key string) (string, bool) {
	if f.c.Session != nil {
		if value, ok := folded(f.c.Session.Tags, key); ok {
			return value, true
		}
	}
	if f.set != nil {
		for _, t := range f.set.Tags {
			if strings.EqualFold(t.Key, key) {
				return t.Value, true
			}
		}
	}
	return "", false
}

// folded finds a key whatever its case. Of several it takes the first by bytes, so that the answer is always the same.
func folded(tags map[string]string, key string) (value string, ok bool) {
	name := ""
	for k, v := range tags {
		if strings.EqualFold(k, key) && (!ok || k < name) {
			name, value, ok = k, v, true
		}
	}
	return value, ok
}
