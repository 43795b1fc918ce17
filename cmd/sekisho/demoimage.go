package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// demoProgram is where the image has the program.
const demoProgram = "/sekisho"

// demoImage is an index of images for two platforms that hold the running program.
type demoImage struct {
	index     v1.ImageIndex
	program   []byte
	platforms []string
	dynamic   bool // built with cgo: its C library is in the image too
}

// newDemoImage makes the image. The platforms are two variants of the machine's own, because a program that runs here is
// all there is to put in.
func newDemoImage() (*demoImage, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	needed, err := neededFiles(program)
	if err != nil {
		return nil, err
	}
	im := &demoImage{index: mutate.IndexMediaType(empty.Index, types.OCIImageIndex), program: program, dynamic: len(needed) > 0}
	layers := []v1.Layer{}
	for _, files := range [][]demoFile{needed, {{demoProgram, program}}} {
		if len(files) == 0 {
			continue
		}
		archive, err := archiveOf(files)
		if err != nil {
			return nil, err
		}
		// Not compressed: that would take longer than the rest of the demo.
		layers = append(layers, static.NewLayer(archive, types.OCIUncompressedLayer))
	}
	variant := "v2"
	if runtime.GOARCH == "arm64" {
		variant = "v9"
	}
	for _, p := range []v1.Platform{{OS: runtime.GOOS, Architecture: runtime.GOARCH}, {OS: runtime.GOOS, Architecture: runtime.GOARCH, Variant: variant}} {
		image, err := imageFor(p, layers)
		if err != nil {
			return nil, fmt.Errorf("make the image for %s: %w", p, err)
		}
		im.index = mutate.AppendManifests(im.index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &p}})
		im.platforms = append(im.platforms, p.String())
	}
	return im, nil
}

func imageFor(p v1.Platform, layers []v1.Layer) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant,
		Config: v1.Config{Entrypoint: []string{demoProgram}, Cmd: []string{"version"}},
		RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(image, layers...)
}

type demoFile struct {
	path string
	data []byte
}

func archiveOf(files []demoFile) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(f.path, "/"), Mode: 0o755, Size: int64(len(f.data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// neededFiles returns what the running program needs besides itself: nothing, unless it was built with cgo, as go run
// does where there is a C compiler. Then it is the loader and the libraries that this process has mapped.
func neededFiles(program []byte) ([]demoFile, error) {
	loader, err := loaderOf(program)
	if err != nil || loader == "" {
		return nil, err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	paths := []string{loader}
	for line := range strings.Lines(string(maps)) {
		fields := strings.Fields(line) // proc_pid_maps(5): the path is the sixth
		if len(fields) == 6 && strings.Contains(filepath.Base(fields[5]), ".so") && !slices.Contains(paths, fields[5]) {
			paths = append(paths, fields[5])
		}
	}
	var files []demoFile
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files = append(files, demoFile{path, data})
	}
	return files, nil
}

// loaderOf returns the dynamic loader that an ELF program asks for, "" if it is static or not ELF.
func loaderOf(program []byte) (string, error) {
	if runtime.GOOS != "linux" {
		return "", nil
	}
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return "", fmt.Errorf("read the running program: %w", err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			path, err := io.ReadAll(p.Open())
			return strings.TrimRight(string(path), "\x00"), err
		}
	}
	return "", nil
}
