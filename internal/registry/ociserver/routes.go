package ociserver

import "github.com/sekisho/sekisho/internal/httpx"

// Route is one row of the table that maps HTTP to what is done and to the action a policy must allow.
type Route struct {
	Method    string
	Path      string // as people write it
	Operation string // label of metrics
	Action    string // of ECR
	Note      string // what else may be needed

	kind  string
	serve func(*Server, *httpx.Response, *request) error
}

// Routes is the whole table; the docs are made from it, and a test holds it against what is really asked of policies.
var Routes = []Route{
	{"GET", "/v2/", "Ping", "", "any valid credential", "ping", (*Server).ping},
	{"HEAD", "/v2/", "Ping", "", "any valid credential", "ping", (*Server).ping},
	{"GET", "/v2/_catalog", "ListRepositories", "ecr:DescribeRepositories", "", "catalog", (*Server).catalog},
	{"GET", "/v2/<repository>/tags/list", "ListTags", "ecr:ListImages", "", "tags", (*Server).tags},
	{"GET", "/v2/<repository>/manifests/<tag or digest>", "GetManifest", "ecr:BatchGetImage", "", "manifests", (*Server).getManifest},
	{"HEAD", "/v2/<repository>/manifests/<tag or digest>", "HeadManifest", "ecr:BatchGetImage", "", "manifests", (*Server).getManifest},
	{"PUT", "/v2/<repository>/manifests/<tag or digest>", "PutManifest", "ecr:PutImage", "ecr:CreateRepository if the push is to create the repository", "manifests", (*Server).putManifest},
	{"DELETE", "/v2/<repository>/manifests/<tag or digest>", "DeleteManifest", "ecr:BatchDeleteImage", "", "manifests", (*Server).deleteManifest},
	{"GET", "/v2/<repository>/referrers/<digest>", "ListReferrers", "ecr:BatchGetImage", "", "referrers", (*Server).referrers},
	{"HEAD", "/v2/<repository>/blobs/<digest>", "HeadBlob", "ecr:BatchCheckLayerAvailability", "", "blobs", (*Server).headBlob},
	{"GET", "/v2/<repository>/blobs/<digest>", "GetBlob", "ecr:GetDownloadUrlForLayer", "", "blobs", (*Server).getBlob},
	{"DELETE", "/v2/<repository>/blobs/<digest>", "DeleteBlob", "ecr:BatchDeleteImage", "", "blobs", (*Server).deleteBlob},
	{"POST", "/v2/<repository>/blobs/uploads/", "StartUpload", "ecr:InitiateLayerUpload", "with ?mount= also ecr:GetDownloadUrlForLayer on the source, or else the blob is to be uploaded, and the header Sekisho-Mount-Error says so; with ?digest= also ecr:CompleteLayerUpload; ecr:CreateRepository if the push is to create the repository", "uploads", (*Server).startUpload},
	{"PATCH", "/v2/<repository>/blobs/uploads/<id>", "AppendUpload", "ecr:UploadLayerPart", "", "upload", (*Server).appendUpload},
	{"PUT", "/v2/<repository>/blobs/uploads/<id>", "CompleteUpload", "ecr:CompleteLayerUpload", "", "upload", (*Server).completeUpload},
	{"GET", "/v2/<repository>/blobs/uploads/<id>", "GetUpload", "ecr:UploadLayerPart", "", "upload", (*Server).uploadStatus},
	{"HEAD", "/v2/<repository>/blobs/uploads/<id>", "GetUpload", "ecr:UploadLayerPart", "", "upload", (*Server).uploadStatus},
	{"DELETE", "/v2/<repository>/blobs/uploads/<id>", "CancelUpload", "ecr:UploadLayerPart", "", "upload", (*Server).cancelUpload},
}
