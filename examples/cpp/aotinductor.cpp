// Classify one image with a package that `catseye export RUN --to aotinductor` compiled. No Python, no interpreter.
//
//   classify model.aoti.pt2 image.bin HEIGHT WIDTH CHANNELS
//
// image.bin holds the image's bytes, H x W x C, as catseye's preprocessing makes them (golden/*.npy has examples).
// Prints one probability per class, in the order of the manifest (extra/catseye in the archive). The package holds
// code for the processor family it was compiled on.
// Build: as torchscript.cpp, with -Wl,--no-as-needed before -ltorch: the code in the package looks for libtorch.so, which
// the linker would leave out because nothing in this file needs it.
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/torch.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <vector>

int main(int count, char** words) {
  if (count != 6) {
    std::fprintf(stderr, "usage: classify model.aoti.pt2 image.bin HEIGHT WIDTH CHANNELS\n");
    return 2;
  }
  const int64_t height = std::atoll(words[3]), width = std::atoll(words[4]), channels = std::atoll(words[5]);
  std::ifstream file(words[2], std::ios::binary);
  std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (static_cast<int64_t>(bytes.size()) != height * width * channels) {
    std::fprintf(stderr, "%s has %zu bytes, not H x W x C\n", words[2], bytes.size());
    return 1;
  }

  c10::InferenceMode guard;
  torch::inductor::AOTIModelPackageLoader model(words[1]);
  const auto image = torch::from_blob(bytes.data(), {1, height, width, channels}, torch::kUInt8);
  const auto outputs = model.run({image});                         // prediction, probability[, cam]
  const auto probability = outputs[1].contiguous();
  for (int64_t index = 0; index < probability.numel(); ++index) {
    std::printf("%.7f\n", probability.data_ptr<float>()[index]);
  }
}
