package ecr

import "github.com/sekisho/sekisho/internal/awsapi"

// PublicService returns Amazon ECR Public, all of it refused: it is another service, and who has configured a client for
// it is to be told so.
func PublicService() *awsapi.Service {
	s := awsapi.NewJSON("ecr-public", "SpencerFrontendService", awsapi.ServiceOptions{Invalid: invalid, Internal: "ServerException", Global: true})
	awsapi.Unsupported(s, []string{
		"BatchCheckLayerAvailability", "BatchDeleteImage", "CompleteLayerUpload", "CreateRepository", "DeleteRepository",
		"DeleteRepositoryPolicy", "DescribeImages", "DescribeImageTags", "DescribeRegistries", "DescribeRepositories",
		"GetAuthorizationToken", "GetRegistryCatalogData", "GetRepositoryCatalogData", "GetRepositoryPolicy",
		"InitiateLayerUpload", "ListTagsForResource", "PutImage", "PutRegistryCatalogData", "PutRepositoryCatalogData",
		"SetRepositoryPolicy", "TagResource", "UntagResource", "UploadLayerPart",
	}, "This is a private registry: use ecr, and a repository policy to let others pull.")
	return s
}
