package task

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// ECRPushImage is ECRPushImage@1: an image of an earlier step gets the registry's name and is pushed there.
func ECRPushImage(ctx context.Context, c *Context) error {
	repository, err := c.Inputs.Require("repositoryName")
	if err != nil {
		return err
	}
	if c.Inputs.Bool(false, "forceDockerNamingConventions") {
		repository = notInName.ReplaceAllString(strings.ToLower(repository), "")
	}
	source := c.Inputs.Get("sourceImageId")
	if !strings.EqualFold(c.Inputs.Get("imageSource"), "imageid") {
		name, err := c.Inputs.Require("sourceImageName")
		if err != nil {
			return err
		}
		source = tagged(name, c.Inputs.Get("sourceImageTag"))
		c.Log.Line("Pushing image " + source)
	} else {
		if source == "" {
			return errors.New("input required: sourceImageId")
		}
		c.Log.Line("Pushing image with id " + source)
	}
	b, err := c.builder(ctx)
	if err != nil {
		return err
	}
	a, err := c.aws(ctx, c.Inputs.Get("awsCredentials"))
	if err != nil {
		return err
	}
	r, err := a.registry(ctx)
	if err != nil {
		return err
	}
	if c.Inputs.Bool(false, "autoCreateRepository") {
		if err := a.ensure(ctx, c, repository); err != nil {
			return err
		}
	}
	target := r.host + "/" + tagged(repository, c.Inputs.Get("pushTag"))
	c.Log.Line("Adding tag '" + target + "' to image '" + source + "'")
	if err := b.Tag(ctx, source, target); err != nil {
		return fmt.Errorf("tag %s: %w", source, err)
	}
	if err := c.login(r); err != nil {
		return err
	}
	c.Log.Line("Pushing image '" + target + "'")
	digest, err := b.Push(ctx, target, nil)
	if err != nil {
		return fmt.Errorf("push %s: %w", target, err)
	}
	if digest != "" {
		c.Log.Line("Pushed " + target + " " + digest)
	}
	if err := c.tell(target); err != nil {
		return err
	}
	if c.Inputs.Bool(false, "removeDockerImage") {
		c.Log.Line("Removing image " + source)
		if err := b.Remove(ctx, source); err != nil {
			return err
		}
	}
	c.Log.Line("Completed Amazon ECR Push Image task")
	return nil
}

// notInName is what a repository's name of docker's can't have.
var notInName = regexp.MustCompile(`[^a-z0-9\-_.]`)

// tagged is a name with a tag, if there is one.
func tagged(name, tag string) string {
	if tag == "" {
		return name + ":latest"
	}
	return name + ":" + tag
}

// tell sets the variable that the input outputVariable names.
func (c *Context) tell(ref string) error {
	name := c.Inputs.Get("outputVariable")
	if name == "" {
		return nil
	}
	c.Log.Line("Setting output variable " + name + " to " + ref)
	return c.Vars.Set(work.Variable{Name: name, Value: ref}, true)
}

// ensure makes a repository unless it is there.
func (a *account) ensure(ctx context.Context, c *Context, repository string) error {
	_, err := a.ecr().DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{repository}})
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*types.RepositoryNotFoundException](err); !ok {
		return fmt.Errorf("look for the repository %s with %s: %w", repository, a.from, err)
	}
	c.Log.Line("Repository does not exist, creating it: " + repository)
	_, err = a.ecr().CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: &repository})
	if _, ok := errors.AsType[*types.RepositoryAlreadyExistsException](err); ok {
		return nil // another job was faster
	}
	if err != nil {
		return fmt.Errorf("create the repository %s with %s: %w", repository, a.from, err)
	}
	return nil
}

// ECRPullImage is ECRPullImage@1.
func ECRPullImage(ctx context.Context, c *Context) error {
	repository, err := c.Inputs.Require("repository")
	if err != nil {
		return err
	}
	b, err := c.builder(ctx)
	if err != nil {
		return err
	}
	a, err := c.aws(ctx, c.Inputs.Get("awsCredentials"))
	if err != nil {
		return err
	}
	r, err := a.registry(ctx)
	if err != nil {
		return err
	}
	source := r.host + "/" + tagged(repository, c.Inputs.Get("imageTag"))
	if strings.EqualFold(c.Inputs.Get("imageSource"), "imagedigest") {
		digest, err := c.Inputs.Require("imageDigest")
		if err != nil {
			return err
		}
		source = r.host + "/" + repository + "@" + digest
	}
	if err := c.login(r); err != nil {
		return err
	}
	c.Log.Line("Pulling image '" + source + "'")
	if err := b.Pull(ctx, source); err != nil {
		return fmt.Errorf("pull %s: %w", source, err)
	}
	if err := c.tell(source); err != nil {
		return err
	}
	c.Log.Line("Completed Amazon ECR Pull Image task")
	return nil
}

// AWSShellScript is AWSShellScript@1: a script in bash with credentials in its environment.
func AWSShellScript(ctx context.Context, c *Context) error {
	a, err := c.aws(ctx, c.Inputs.Get("awsCredentials"))
	if err != nil {
		return err
	}
	env, err := a.environment(ctx)
	if err != nil {
		return err
	}
	inner := *c
	inner.Env = append(c.Env[:len(c.Env):len(c.Env)], env...)
	inner.Inputs = Inputs{
		"targettype":   "inline",
		"script":       c.Inputs["inlinescript"],
		"filepath":     c.Inputs.Get("filePath"),
		"arguments":    c.Inputs.Get("arguments"),
		"failonstderr": c.Inputs.Get("failOnStandardError"),
	}
	if !strings.EqualFold(c.Inputs.Get("scriptType"), "inline") {
		inner.Inputs["targettype"] = "filePath"
		inner.Inputs["script"] = ""
	}
	if c.Inputs.Bool(false, "disableAutoCwd") {
		inner.Inputs["workingdirectory"] = c.Inputs.Get("workingDirectory")
	}
	return Bash(ctx, &inner)
}
