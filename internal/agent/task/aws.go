package task

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/sekisho/sekisho/internal/agent/builder"
	"github.com/sekisho/sekisho/internal/agent/work"
)

// account is an account of AWS, or of this server, as a task acts in it.
type account struct {
	config   aws.Config
	endpoint string // base URL of its APIs; empty: AWS's own
	from     string // where the credentials are from, for people
}

// stsAudience is what identity tokens for STS are made out to.
const stsAudience = "sts.amazonaws.com"

// aws returns whom the input awsCredentials names, or, without one, who is found in the order that the AWS tasks have: the
// variables AWS.AccessKeyID and so on, the environment, and at last the job's own identity.
//
// A connection of type aws without a URL is for this server, as the agent reaches it; one for AWS itself says so with the
// URL https://amazonaws.com.
func (c *Context) aws(ctx context.Context, connection string) (*account, error) {
	a := &account{endpoint: c.Job.Server}
	get := func(name string) string { v, _ := c.Vars.Get(name); return v }
	env := runner{c}.Getenv
	region := c.Inputs.Get("regionName")
	var key aws.Credentials
	role := assume{session: "sekisho-pipelines"}
	var roleFrom *work.Endpoint
	switch {
	case connection != "":
		e, err := c.Endpoint(connection)
		if err != nil {
			return nil, fmt.Errorf("awsCredentials: %w", err)
		}
		if t := strings.ToLower(e.Type); t != "aws" && t != "sekisho" {
			return nil, fmt.Errorf("awsCredentials: the service connection %s is of type %s, not aws", e.Name, e.Type)
		}
		a.from = "the service connection " + e.Name
		if e.URL != "" && !strings.EqualFold(e.Type, "sekisho") {
			a.endpoint = strings.TrimSuffix(e.URL, "/")
			if host := builder.HostOf(e.URL); host == "amazonaws.com" || strings.HasSuffix(host, ".amazonaws.com") && c.Job.Server != a.endpoint {
				a.endpoint = ""
			}
		}
		key = aws.Credentials{AccessKeyID: e.Auth["username"], SecretAccessKey: e.Auth["password"], SessionToken: cmp.Or(e.Auth["sessionToken"], e.Auth["sessiontoken"])}
		role = assume{arn: e.Auth["assumeRoleArn"], external: e.Auth["externalId"], session: cmp.Or(e.Auth["roleSessionName"], role.session)}
		region = cmp.Or(region, e.Auth["region"], e.Data["region"])
		roleFrom = e
		if (key.AccessKeyID == "") != (key.SecretAccessKey == "") {
			return nil, fmt.Errorf("%s has an access key id or a secret, and not both", a.from)
		}
	case get("AWS.AccessKeyID") != "":
		a.from = "the variables AWS.AccessKeyID and AWS.SecretAccessKey"
		key = aws.Credentials{AccessKeyID: get("AWS.AccessKeyID"), SecretAccessKey: get("AWS.SecretAccessKey"), SessionToken: get("AWS.SessionToken")}
		role = assume{arn: get("AWS.AssumeRoleArn"), external: get("AWS.ExternalId"), session: cmp.Or(get("AWS.RoleSessionName"), role.session)}
		if key.SecretAccessKey == "" {
			return nil, errors.New("the variable AWS.AccessKeyID is set, and AWS.SecretAccessKey is not")
		}
	case env("AWS_ACCESS_KEY_ID") != "" && env("AWS_SECRET_ACCESS_KEY") != "":
		a.from = "the environment"
		key = aws.Credentials{AccessKeyID: env("AWS_ACCESS_KEY_ID"), SecretAccessKey: env("AWS_SECRET_ACCESS_KEY"), SessionToken: env("AWS_SESSION_TOKEN")}
		a.endpoint = cmp.Or(env("AWS_ENDPOINT_URL"), a.endpoint)
	}
	client, err := c.httpClient()
	if err != nil {
		return nil, err
	}
	region = cmp.Or(region, get("AWS.Region"), env("AWS_REGION"), env("AWS_DEFAULT_REGION"))
	if a.endpoint == c.Job.Server && c.Job.Region != "" {
		if region != "" && !strings.EqualFold(region, c.Job.Region) {
			c.Log.Line(fmt.Sprintf("regionName is %s; this server is %s, which is what requests are signed for.", region, c.Job.Region))
		}
		region = c.Job.Region
	}
	if region == "" {
		return nil, errors.New("input required: regionName")
	}
	a.config = aws.Config{Region: region, HTTPClient: client}
	web := roleFrom != nil && (strings.EqualFold(roleFrom.Scheme, "WorkloadIdentityFederation") || strings.EqualFold(roleFrom.Auth["useOIDC"], "true"))
	if key.AccessKeyID == "" && !web { // the job itself
		mine, err := c.mine(ctx)
		if err != nil {
			return nil, err
		}
		if mine == nil {
			return nil, errors.New("there are no credentials: name a service connection in awsCredentials; this job has no identity of its own")
		}
		if a.from == "" {
			a.from = "the job's own identity"
		} else {
			a.from += ", by the job's own identity"
		}
		key = aws.Credentials{AccessKeyID: mine.AccessKeyID, SecretAccessKey: mine.SecretAccessKey, SessionToken: mine.SessionToken}
	}
	c.secretKey(key)
	a.config.Credentials = credentials.StaticCredentialsProvider{Value: key}
	switch {
	case web && role.arn == "":
		return nil, fmt.Errorf("%s uses an identity token and names no role to assume", a.from)
	case web:
		key, err = a.assumeByToken(ctx, c, role)
	case role.arn != "":
		key, err = a.assume(ctx, role)
	}
	if err != nil {
		return nil, err
	}
	if role.arn != "" {
		c.secretKey(key)
		a.config.Credentials = credentials.StaticCredentialsProvider{Value: key}
		a.from += ", as " + role.arn
	}
	c.Log.Line("Credentials: " + a.from + ".")
	return a, nil
}

// Keys returns keys of AWS for a program that knows nothing of the job's identity token: of a service connection that has a role and
// no keys of its own. They last for an hour.
func (c *Context) Keys(ctx context.Context, connection string) (aws.Credentials, error) {
	a, err := c.aws(ctx, connection)
	if err != nil {
		return aws.Credentials{}, err
	}
	return a.config.Credentials.Retrieve(ctx)
}

// mine returns credentials of the job's own identity that last a while.
func (c *Context) mine(ctx context.Context) (*work.Credentials, error) {
	if m := c.Job.Credentials; m != nil && m.Expires.Sub(c.Now()) > 5*time.Minute {
		return m, nil
	}
	if c.Job.Credentials == nil {
		return nil, nil
	}
	return c.Server.Login(ctx)
}

// secretKey has the secrets of a key masked.
func (c *Context) secretKey(key aws.Credentials) {
	for _, s := range []string{key.SecretAccessKey, key.SessionToken} {
		if s != "" {
			c.Log.Secret(s)
		}
	}
}

// httpClient calls APIs as the agent does: through its proxy, trusting its authorities.
func (c *Context) httpClient() (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if file, _ := c.Vars.Get("Agent.CAInfo"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("the agent's root certificates: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, err
		}
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("the agent's root certificates: %s has none in PEM form", file)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport}, nil
}

// assume is a role to take on.
type assume struct{ arn, external, session string }

func (a *account) sts() *sts.Client {
	return sts.NewFromConfig(a.config, func(o *sts.Options) {
		if a.endpoint != "" {
			o.BaseEndpoint = &a.endpoint
		}
	})
}

func (a *account) assume(ctx context.Context, r assume) (aws.Credentials, error) {
	in := &sts.AssumeRoleInput{RoleArn: &r.arn, RoleSessionName: &r.session}
	if r.external != "" {
		in.ExternalId = &r.external
	}
	out, err := a.sts().AssumeRole(ctx, in)
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("assume the role %s with %s: %w", r.arn, a.from, err)
	}
	return aws.Credentials{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken}, nil
}

func (a *account) assumeByToken(ctx context.Context, c *Context, r assume) (aws.Credentials, error) {
	token, err := c.Server.IdentityToken(ctx, stsAudience)
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("an identity token for the job: %w", err)
	}
	c.Log.Secret(token)
	out, err := a.sts().AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: &r.arn, RoleSessionName: &r.session, WebIdentityToken: &token})
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("assume the role %s with the job's identity token: %w", r.arn, err)
	}
	return aws.Credentials{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken}, nil
}

func (a *account) ecr() *ecr.Client {
	return ecr.NewFromConfig(a.config, func(o *ecr.Options) {
		if a.endpoint != "" {
			o.BaseEndpoint = &a.endpoint
		}
	})
}

// registry returns a login to the account's registry.
func (a *account) registry(ctx context.Context) (registryLogin, error) {
	out, err := a.ecr().GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return registryLogin{}, fmt.Errorf("get a token for the registry with %s: %w", a.from, err)
	}
	if len(out.AuthorizationData) == 0 || out.AuthorizationData[0].AuthorizationToken == nil || out.AuthorizationData[0].ProxyEndpoint == nil {
		return registryLogin{}, errors.New("the registry gave no authorization data")
	}
	data := out.AuthorizationData[0]
	text, err := base64.StdEncoding.DecodeString(*data.AuthorizationToken)
	user, password, ok := strings.Cut(string(text), ":")
	if err != nil || !ok {
		return registryLogin{}, errors.New("the registry's authorization token is malformed")
	}
	return registryLogin{host: builder.HostOf(*data.ProxyEndpoint), user: user, password: password}, nil
}

// environment is what programs that speak to AWS need to act in the account.
func (a *account) environment(ctx context.Context) ([]string, error) {
	key, err := a.config.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	env := []string{"AWS_ACCESS_KEY_ID=" + key.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + key.SecretAccessKey, "AWS_REGION=" + a.config.Region, "AWS_DEFAULT_REGION=" + a.config.Region}
	if key.SessionToken != "" {
		env = append(env, "AWS_SESSION_TOKEN="+key.SessionToken)
	}
	if a.endpoint != "" {
		env = append(env, "AWS_ENDPOINT_URL="+a.endpoint)
	}
	return env, nil
}
