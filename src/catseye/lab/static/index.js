// The front page: the picture on the bench.

import { complain, ready } from "./api.js";
import { pickPicture } from "./pictures.js";

pickPicture(document.querySelector("[data-pictures]")).catch(complain).finally(ready);
