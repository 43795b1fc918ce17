package ecr

import "github.com/sekisho/sekisho/internal/awsapi"

// The constraints of the service's model. A test holds them against botocore's copy of it, with two exceptions: upload
// ids have our own form, and what only the elements of a list must have is left to batch operations to report.
var (
	registryID     = awsapi.Member{Path: "registryId", Pattern: awsapi.Pattern(`[0-9]{12}`)}
	repositoryName = awsapi.Member{Path: "repositoryName", Required: true, Min: 2, Max: 256, Pattern: namePattern}
	imageIDs       = awsapi.Member{Path: "imageIds", Min: 1, Max: 100}
	imageIDTags    = awsapi.Member{Path: "imageIds[].imageTag", Min: 1, Max: 300}
	imageID        = awsapi.Member{Path: "imageId", Required: true}
	imageIDTag     = awsapi.Member{Path: "imageId.imageTag", Min: 1, Max: 300}
	maxResults     = awsapi.Member{Path: "maxResults", Min: 1, Max: 1000}
	uploadID       = awsapi.Member{Path: "uploadId", Required: true}
	layerDigest    = awsapi.Member{Path: "layerDigest", Required: true, Pattern: digestPattern}
	resourceARN    = awsapi.Member{Path: "resourceArn", Required: true}
	tagKey         = awsapi.Member{Path: "tags[].Key", Required: true}
	tagValue       = awsapi.Member{Path: "tags[].Value", Required: true}

	exclusionFilterList = awsapi.Member{Path: "imageTagMutabilityExclusionFilters", Min: 1, Max: 5}
	exclusionFilterType = awsapi.Member{Path: "imageTagMutabilityExclusionFilters[].filterType", Required: true}
	exclusionFilter     = awsapi.Member{Path: "imageTagMutabilityExclusionFilters[].filter", Required: true, Min: 1, Max: 128, Pattern: awsapi.Pattern(`^[0-9a-zA-Z._*-]{1,128}$`)}

	namePattern   = awsapi.Pattern(`[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`)
	digestPattern = awsapi.Pattern(`[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+`)
)

var constraints = map[string][]awsapi.Member{
	"GetAuthorizationToken": {
		{Path: "registryIds", Min: 1, Max: 10}, {Path: "registryIds[]", Pattern: registryID.Pattern},
	},
	"DescribeRegistry": nil,
	"CreateRepository": {
		registryID, repositoryName, tagKey, tagValue,
		exclusionFilterList, exclusionFilterType, exclusionFilter,
		{Path: "encryptionConfiguration.encryptionType", Required: true},
		{Path: "encryptionConfiguration.kmsKey", Min: 1, Max: 2048},
	},
	"DescribeRepositories": {
		registryID, maxResults,
		{Path: "repositoryNames", Min: 1, Max: 100}, {Path: "repositoryNames[]", Min: 2, Max: 256, Pattern: namePattern},
	},
	"PutImageTagMutability": {
		registryID, repositoryName, {Path: "imageTagMutability", Required: true},
		exclusionFilterList, exclusionFilterType, exclusionFilter,
	},
	"PutImageScanningConfiguration": {registryID, repositoryName, {Path: "imageScanningConfiguration", Required: true}},
	"BatchGetRepositoryScanningConfiguration": {
		{Path: "repositoryNames", Required: true, Min: 1, Max: 25}, {Path: "repositoryNames[]", Min: 2, Max: 256, Pattern: namePattern},
	},
	"SetRepositoryPolicy":    {registryID, repositoryName, {Path: "policyText", Required: true, Max: 10_240}},
	"GetRepositoryPolicy":    {registryID, repositoryName},
	"DeleteRepositoryPolicy": {registryID, repositoryName},
	"PutLifecyclePolicy":     {registryID, repositoryName, {Path: "lifecyclePolicyText", Required: true, Min: 100, Max: 30_720}},
	"GetLifecyclePolicy":     {registryID, repositoryName},
	"DeleteLifecyclePolicy":  {registryID, repositoryName},
	"GetLifecyclePolicyPreview": {
		registryID, repositoryName, imageIDs, imageIDTags, {Path: "maxResults", Min: 1, Max: 100},
	},
	"ListImageReferrers": {
		registryID, repositoryName, {Path: "subjectId", Required: true}, {Path: "subjectId.imageDigest", Required: true},
		{Path: "filter.artifactTypes", Max: 5}, {Path: "filter.artifactTypes[]", Min: 1, Max: 255}, {Path: "maxResults", Min: 1, Max: 50},
	},
	"UpdateImageStorageClass":        {registryID, repositoryName, imageID, imageIDTag, {Path: "targetStorageClass", Required: true}},
	"DescribeImageScanFindings":      {registryID, repositoryName, imageID, imageIDTag, maxResults},
	"DescribeImageReplicationStatus": {registryID, repositoryName, imageID, imageIDTag},
	"DescribeImageSigningStatus":     {registryID, repositoryName, imageID, imageIDTag},
	"DeleteRepository":               {registryID, repositoryName},
	"TagResource":                    {resourceARN, {Path: "tags", Required: true}, tagKey, tagValue},
	"UntagResource":                  {resourceARN, {Path: "tagKeys", Required: true}},
	"ListTagsForResource":            {resourceARN},
	"DescribeImages":                 {registryID, repositoryName, imageIDs, imageIDTags, maxResults},
	"ListImages":                     {registryID, repositoryName, maxResults},
	"BatchGetImage": {
		registryID, repositoryName, required(imageIDs), imageIDTags, {Path: "acceptedMediaTypes", Min: 1, Max: 100},
	},
	"BatchDeleteImage": {registryID, repositoryName, required(imageIDs), imageIDTags},
	"PutImage": {
		registryID, repositoryName,
		{Path: "imageManifest", Required: true, Min: 1, Max: 4 << 20}, {Path: "imageTag", Min: 1, Max: 300},
	},
	"BatchCheckLayerAvailability": {
		registryID, repositoryName,
		{Path: "layerDigests", Required: true, Min: 1, Max: 100}, {Path: "layerDigests[]", Max: 1000},
	},
	"GetDownloadUrlForLayer": {registryID, repositoryName, layerDigest},
	"InitiateLayerUpload":    {registryID, repositoryName},
	"UploadLayerPart": {
		registryID, repositoryName, uploadID,
		{Path: "partFirstByte", Required: true}, {Path: "partLastByte", Required: true},
		{Path: "layerPartBlob", Required: true, Max: 20 << 20},
	},
	"CompleteLayerUpload": {
		registryID, repositoryName, uploadID,
		{Path: "layerDigests", Required: true, Min: 1, Max: 100}, {Path: "layerDigests[]", Pattern: digestPattern},
	},
}

func required(m awsapi.Member) awsapi.Member {
	m.Required = true
	return m
}
