// Classify one image with a TorchScript file that `catseye export RUN --to torchscript` wrote. No Python.
//
//   classify model.torchscript image.bin HEIGHT WIDTH CHANNELS
//
// image.bin holds the image's bytes, H x W x C, as catseye's preprocessing makes them (golden/*.npy has examples).
// Prints one probability per class, in the order of the manifest, which is the archive's extra file "catseye".
// Build: g++ -std=c++20 torchscript.cpp -I$TORCH/include -I$TORCH/include/torch/csrc/api/include -L$TORCH/lib
//        -Wl,-rpath,$TORCH/lib -ltorch -ltorch_cpu -lc10     where TORCH is the folder of the torch package or libtorch
#include <torch/script.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <vector>

int main(int count, char** words) {
  if (count != 6) {
    std::fprintf(stderr, "usage: classify model.torchscript image.bin HEIGHT WIDTH CHANNELS\n");
    return 2;
  }
  const int64_t height = std::atoll(words[3]), width = std::atoll(words[4]), channels = std::atoll(words[5]);
  std::ifstream file(words[2], std::ios::binary);
  std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (static_cast<int64_t>(bytes.size()) != height * width * channels) {
    std::fprintf(stderr, "%s has %zu bytes, not H x W x C\n", words[2], bytes.size());
    return 1;
  }

  torch::jit::ExtraFilesMap extra{{"catseye", ""}};
  torch::jit::Module model = torch::jit::load(words[1], torch::kCPU, extra);
  if (extra["catseye"].empty()) {
    std::fprintf(stderr, "%s carries no catseye manifest\n", words[1]);
    return 1;
  }
  torch::InferenceMode guard;
  const auto image = torch::from_blob(bytes.data(), {1, height, width, channels}, torch::kUInt8);
  const auto outputs = model.forward({image}).toTuple();           // prediction, probability[, cam]
  const auto probability = outputs->elements()[1].toTensor().contiguous();
  for (int64_t index = 0; index < probability.numel(); ++index) {
    std::printf("%.7f\n", probability.data_ptr<float>()[index]);
  }
}
