package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// Kinds of artifacts.
const (
	pipelineArtifact  = "pipeline"
	containerArtifact = "container"
)

// parallelFiles is how many files go to or come from the server at once.
const parallelFiles = 4

// PublishPipelineArtifact is PublishPipelineArtifact@1, and the step `publish`.
func PublishPipelineArtifact(ctx context.Context, c *Context) error {
	if t := strings.ToLower(c.Inputs.Get("artifactType", "publishLocation")); t == "filepath" {
		return errors.New("artifactType: a file share is not done here; artifacts go to the server")
	}
	path := c.Inputs.Get("path", "targetPath")
	if path == "" {
		path = c.Dirs.Pipeline
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.Dirs.Sources, path)
	}
	name := c.Inputs.Get("artifact", "artifactName")
	if name == "" { // as Azure names one that has no name: after the job
		name = c.Job.Identity.Stage + "." + c.Job.Identity.Job
		if name = strings.TrimPrefix(name, "__default."); name == "" {
			name = "drop"
		}
	}
	ignored, err := c.ignored(path)
	if err != nil {
		return err
	}
	return c.publish(ctx, name, pipelineArtifact, path, "", ignored)
}

// artifactIgnore is the file whose patterns are not published.
const artifactIgnore = ".artifactignore"

// ignored returns what a folder's .artifactignore leaves: everything, without what it names.
func (c *Context) ignored(folder string) (patterns, error) {
	all := patterns{"**"}
	text, err := os.ReadFile(c.Host.Outside(filepath.Join(folder, artifactIgnore)))
	if err != nil { // there is none
		return append(all, "!**/.git/**"), nil
	}
	p, err := parsePatterns(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", artifactIgnore, err)
	}
	for _, pattern := range p {
		keep := ""
		if rest, ok := strings.CutPrefix(pattern, "!"); ok {
			pattern = rest
		} else {
			keep = "!"
		}
		anchored := strings.Contains(strings.TrimSuffix(pattern, "/"), "/")
		pattern = strings.TrimPrefix(pattern, "/")
		if !anchored && !strings.HasPrefix(pattern, "**") {
			pattern = "**/" + pattern
		}
		all = append(all, keep+strings.TrimSuffix(pattern, "/"), keep+strings.TrimSuffix(pattern, "/")+"/**")
	}
	return append(all, "!"+artifactIgnore), nil
}

// publish sends a file, or what patterns mean below a folder, and then makes it visible.
func (c *Context) publish(ctx context.Context, name, kind, path, below string, p patterns) error {
	info, err := os.Stat(c.Host.Outside(path))
	if err != nil {
		return fmt.Errorf("there is nothing at %s to publish", path)
	}
	files := []found{{filepath.Base(path), c.Host.Outside(path), info}}
	if info.IsDir() {
		if files, err = c.find(ctx, path, p); err != nil {
			return err
		}
	}
	if len(files) == 0 {
		c.Log.Warning("there are no files below " + path + "; the artifact " + name + " is empty")
	}
	var bytes int64
	g, sending := errgroup.WithContext(ctx)
	g.SetLimit(parallelFiles)
	for i, f := range files {
		bytes += f.info.Size()
		if i%100 == 0 {
			c.Log.Progress(100*i/len(files), "upload "+f.name)
		}
		g.Go(func() error { return c.send(sending, name, kind, below+f.name, f) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := c.Server.FinishArtifact(ctx, name, kind, nil); err != nil {
		return fmt.Errorf("artifact %s: %w", name, err)
	}
	c.Log.Line(fmt.Sprintf("Published the artifact %s: %d files, %d bytes", name, len(files), bytes))
	return nil
}

func (c *Context) send(ctx context.Context, artifact, kind, name string, f found) error {
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := c.Server.PutFile(ctx, artifact, kind, name, f.info.Size(), in); err != nil {
		return fmt.Errorf("artifact %s, file %s: %w", artifact, name, err)
	}
	return nil
}

// PublishBuildArtifacts is PublishBuildArtifacts@1.
func PublishBuildArtifacts(ctx context.Context, c *Context) error {
	if t := strings.ToLower(c.Inputs.Get("publishLocation", "ArtifactType")); t == "filepath" {
		return errors.New("publishLocation: a file share is not done here; artifacts go to the server")
	}
	name := c.Inputs.Get("ArtifactName")
	if name == "" {
		name = "drop"
	}
	path := c.folder(c.Dirs.Staging, "PathtoPublish")
	size, err := c.number(0, "MaxArtifactSize")
	if err != nil {
		return err
	}
	if size > 0 {
		c.Log.Warning("MaxArtifactSize is not looked at; the server's own limit counts")
	}
	if c.Inputs.Bool(false, "StoreAsTar") {
		return errors.New("StoreAsTar is not done here: archive with ArchiveFiles@2 first")
	}
	return c.publish(ctx, name, containerArtifact, path, "", patterns{"**"})
}

// DownloadPipelineArtifact is DownloadPipelineArtifact@1 and @2, and the step `download`.
func DownloadPipelineArtifact(ctx context.Context, c *Context) error {
	d := download{Context: c, artifact: c.Inputs.Get("artifact", "artifactName"), target: c.folder(c.Dirs.Pipeline, "path", "targetPath", "downloadPath")}
	var err error
	if d.patterns, err = c.contents("**", "patterns", "itemPattern"); err != nil {
		return err
	}
	source := strings.ToLower(c.Inputs.Get("source", "buildType"))
	if err := d.choose(ctx, source, c.Inputs.Get("runVersion", "buildVersionToDownload"), c.Inputs.Get("runBranch", "branchName"), c.Inputs.Get("runId", "pipelineId", "buildId")); err != nil {
		return err
	}
	// One artifact goes into the target itself, all of them each into a folder of its own.
	return d.run(ctx, d.artifact == "")
}

// DownloadBuildArtifacts is DownloadBuildArtifacts@0 and @1: each artifact goes into a folder of its name.
func DownloadBuildArtifacts(ctx context.Context, c *Context) error {
	d := download{Context: c, target: c.folder(c.Dirs.Staging, "downloadPath")}
	if !strings.EqualFold(c.Inputs.Get("downloadType"), "specific") {
		if d.artifact = c.Inputs.Get("artifactName"); d.artifact == "" {
			return errors.New("input required: artifactName; with the downloadType specific, all artifacts are downloaded")
		}
	}
	var err error
	if d.patterns, err = c.contents("**", "itemPattern"); err != nil {
		return err
	}
	if c.Inputs.Bool(false, "cleanDestinationFolder") {
		if err := c.empty(d.target); err != nil {
			return err
		}
	}
	if err := d.choose(ctx, strings.ToLower(c.Inputs.Get("buildType")), c.Inputs.Get("buildVersionToDownload"), c.Inputs.Get("branchName"), c.Inputs.Get("buildId")); err != nil {
		return err
	}
	return d.run(ctx, true)
}

// download is a step that downloads artifacts.
type download struct {
	*Context
	artifact string // empty: all
	target   string
	patterns patterns
	runs     int64 // 0: this run
}

// choose finds the run that is meant.
func (d *download) choose(ctx context.Context, source, version, branch, id string) error {
	if source == "" || source == "current" {
		if alias := d.Inputs.Get("pipelineResource"); alias != "" && alias != "current" {
			return d.resource(alias)
		}
		return nil
	}
	if alias := d.Inputs.Get("pipelineResource"); alias != "" {
		return d.resource(alias)
	}
	q := work.RunQuery{
		Project: d.Inputs.Get("project"), Pipeline: d.Inputs.Get("pipeline", "definition"),
		AllowPartial: d.Inputs.Bool(false, "allowPartiallySucceededBuilds"), AllowFailed: d.Inputs.Bool(false, "allowFailedBuilds"),
	}
	if q.Pipeline == "" {
		return errors.New("input required: pipeline")
	}
	for tag := range strings.SplitSeq(d.Inputs.Get("tags"), ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			q.Tags = append(q.Tags, tag)
		}
	}
	switch strings.ToLower(version) {
	case "", "latest":
	case "latestfrombranch":
		if q.Branch = branch; branch == "" {
			q.Branch = "refs/heads/master"
		}
	case "specific":
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || n <= 0 {
			return fmt.Errorf("runId: %q is not the number of a run", id)
		}
		q.Run = n
	default:
		return fmt.Errorf("runVersion: %q is none of latest, latestFromBranch, specific", version)
	}
	runs, err := d.Server.Runs(ctx, q)
	if err != nil && !errors.Is(err, work.ErrNotFound) {
		return err
	}
	if len(runs) == 0 {
		return fmt.Errorf("there is no run of the pipeline %s that is as wanted, and whose artifacts this job may read", q.Pipeline)
	}
	d.runs = runs[0]
	d.Log.Line("Downloading from run " + strconv.FormatInt(d.runs, 10))
	return nil
}

// resource is the run of a pipeline resource.
func (d *download) resource(alias string) error {
	for _, a := range d.Job.Downloads {
		if strings.EqualFold(a.Alias, alias) {
			d.runs = a.Run
			return nil
		}
	}
	if v, ok := d.Vars.Get("resources.pipeline." + alias + ".runID"); ok {
		n, err := strconv.ParseInt(v, 10, 64)
		if err == nil {
			d.runs = n
			return nil
		}
	}
	return fmt.Errorf("there is no pipeline resource %q", alias)
}

func (d *download) run(ctx context.Context, folders bool) error {
	all, err := d.Server.Artifacts(ctx, d.runs)
	if err != nil {
		return err
	}
	if d.artifact != "" {
		i := slices.IndexFunc(all, func(a work.Artifact) bool { return strings.EqualFold(a.Name, d.artifact) })
		if i < 0 {
			var names []string
			for _, a := range all {
				names = append(names, a.Name)
			}
			return fmt.Errorf("there is no artifact %s; there are: %s", d.artifact, strings.Join(names, ", "))
		}
		all = all[i : i+1]
	}
	at := d.Host.Outside(d.target)
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(at)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, a := range all {
		below := ""
		if folders {
			below = a.Name
		}
		n, err := d.artifactTo(ctx, root, a.Name, below)
		if err != nil {
			return fmt.Errorf("artifact %s: %w", a.Name, err)
		}
		d.Log.Line(fmt.Sprintf("Downloaded the artifact %s to %s: %d files", a.Name, filepath.Join(d.target, below), n))
	}
	return nil
}

func (d *download) artifactTo(ctx context.Context, root *os.Root, artifact, below string) (n int, err error) {
	g, getting := errgroup.WithContext(ctx)
	g.SetLimit(parallelFiles)
	for f, ferr := range d.Server.Files(getting, d.runs, artifact) {
		if ferr != nil {
			err = ferr
			break
		}
		// Patterns may name the artifact's own folder, or not.
		if !d.patterns.match("/", f.Name) && !d.patterns.match("/", artifact+"/"+f.Name) {
			continue
		}
		path := filepath.Join(below, filepath.FromSlash(f.Name))
		if !filepath.IsLocal(path) {
			err = fmt.Errorf("the name %q leads out of the folder", f.Name)
			break
		}
		n++
		g.Go(func() error { return d.get(getting, root, artifact, f, path) })
	}
	return n, errors.Join(err, g.Wait())
}

func (d *download) get(ctx context.Context, root *os.Root, artifact string, f work.File, path string) error {
	r, err := d.Server.GetFile(ctx, d.runs, artifact, f.Name)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	defer r.Close()
	if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := root.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := root.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, r)
	if err == nil && n != f.Size {
		err = fmt.Errorf("%s: %d bytes came, and it has %d", f.Name, n, f.Size)
	}
	return errors.Join(err, out.Close())
}
