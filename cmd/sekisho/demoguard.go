package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/sekisho/sekisho/internal/audit"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

const (
	demoUser     = "ci"
	demoEndpoint = "vpce-0123456789abcdef0"
	guardedTag   = "v2"
	whyLimit     = 10 * time.Second
)

// pushPolicy is what a client needs to push to a repository, and no more.
func pushPolicy(repositoryARN string) policyDocument {
	return policyDocument{Version: "2012-10-17", Statement: []policyStatement{
		{Sid: "SignIn", Effect: "Allow", Action: []string{"ecr:GetAuthorizationToken"}, Resource: "*"},
		{Sid: "Push", Effect: "Allow", Resource: repositoryARN, Action: []string{"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage",
			"ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage"}},
	}}
}

// guardPolicy refuses pushes that do not come through the private endpoint, whoever makes them.
var guardPolicy = policyDocument{Version: "2012-10-17", Statement: []policyStatement{{
	Sid: "PushOnlyThroughTheEndpoint", Effect: "Deny", Principal: "*",
	Action:    []string{"ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage"},
	Condition: map[string]map[string]string{"StringNotEquals": {"aws:SourceVpce": demoEndpoint}},
}}}

type policyDocument struct {
	Version   string
	Statement []policyStatement
}

type policyStatement struct {
	Sid       string
	Effect    string
	Principal string `json:",omitempty"`
	Action    []string
	Resource  string                       `json:",omitempty"`
	Condition map[string]map[string]string `json:",omitempty"`
}

func (p *policyDocument) text() (string, error) {
	b, err := json.Marshal(p)
	return string(b), err
}

func (d *demonstration) addUser(ctx context.Context) (string, error) {
	root := (&iam.Principal{Account: d.in.Account, ARN: iam.RootARN(d.in.Account), Type: iam.Root, ID: d.in.Account}).Caller()
	user, err := d.in.Directory.CreateUser(ctx, root, directory.NewUser{Name: demoUser})
	if err != nil {
		return "", err
	}
	push := pushPolicy("arn:aws:ecr:" + d.in.Config.Region + ":" + d.in.Account + ":repository/" + demoRepository)
	text, err := push.text()
	if err != nil {
		return "", err
	}
	if err := d.in.Directory.PutInlinePolicy(ctx, root, directory.UserNamed(demoUser), "push", text); err != nil {
		return "", err
	}
	key, err := d.in.Directory.CreateAccessKey(ctx, root, demoUser)
	if err != nil {
		return "", err
	}
	d.ci = authn.Basic{Username: key.ID, Password: key.Secret.Reveal()}
	return fmt.Sprintf("%s, %d actions on one repository, access key %s", user.ARN, len(push.Statement[1].Action), d.ci.Username), nil
}

func (d *demonstration) guard(ctx context.Context) (string, error) {
	text, err := guardPolicy.text()
	if err != nil {
		return "", err
	}
	_, err = d.ecr.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RepositoryName: aws.String(demoRepository), PolicyText: &text})
	return fmt.Sprintf("a repository policy denies pushes unless aws:SourceVpce is %s, which is http://%s here", demoEndpoint, d.endpoint), err
}

var whyRequest = regexp.MustCompile(`sekisho why ([a-z0-9]+)`)

func (d *demonstration) pushOutside(ctx context.Context) (string, error) {
	err := d.pushGuarded(ctx, d.host)
	var refused *transport.Error
	if !errors.As(err, &refused) || refused.StatusCode != http.StatusForbidden || len(refused.Errors) != 1 {
		return "", fmt.Errorf("it was not refused as it should be: %w", err)
	}
	message := refused.Errors[0].Message
	if m := whyRequest.FindStringSubmatch(message); m != nil {
		d.refused = m[1]
	}
	return "403: " + message, nil
}

// why shows how the refusal came about, once it is in the audit record.
func (d *demonstration) why(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, whyLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, traces, err := audit.Traces(ctx, d.in.DB, d.refused)
		if err != nil {
			return "", err
		}
		if len(traces) == 1 {
			var trace shownTrace
			if err := json.Unmarshal([]byte(traces[0]), &trace); err != nil {
				return "", fmt.Errorf("read the trace: %w", err)
			}
			for _, r := range trace.Reasons {
				if r.Applies {
					return r.Text, nil
				}
			}
			return "", errors.New("no statement applies")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", fmt.Errorf("the refusal %s is not in the audit record: %w", d.refused, ctx.Err())
		}
	}
}

func (d *demonstration) pushInside(ctx context.Context) (string, error) {
	if err := d.pushGuarded(ctx, d.endpoint); err != nil {
		return "", err
	}
	return fmt.Sprintf("tag %s, by the same user with the same access key", guardedTag), nil
}

// pushGuarded pushes the image under another tag, as the CI user, by one of the ways in.
func (d *demonstration) pushGuarded(ctx context.Context, host string) error {
	ref, err := name.ParseReference(host+"/"+demoRepository+":"+guardedTag, name.StrictValidation, name.Insecure)
	if err != nil {
		return err
	}
	return remote.WriteIndex(ref, d.image.index, remote.WithContext(ctx), remote.WithAuth(&d.ci), remote.WithTransport(new(http.Transport)))
}
